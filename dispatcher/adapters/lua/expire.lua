-- Put jobs with expired leases back, and forget places and flows whose records mean nothing any more. Replies with the
-- ids of the jobs.
--
-- KEYS, ARGV[1..4]  as in shard.lua
-- ARGV[5]  now (ms), ARGV[6] most jobs, and ARGV[7] most records, of one call
--
-- Keeps: a job keeps its age. A host is forgotten only where it has no jobs, no pace of its own, its next moment has
-- passed and so has the memory of its back-off; a domain with the last of its hosts: a new visit is then as free as to
-- one that was never known.
-- Cost: O(log n) each.

local now = tonumber(ARGV[5])
local clock = tonumber(call('HGET', META, 'c')) or 0
local ids = call('ZRANGEBYSCORE', LEASES, '-inf', now, 'LIMIT', 0, tonumber(ARGV[6]))
local found = jobs_of(ids)
read_around(found)
for i, job in ipairs(ids) do
  if found[i] then
    put_back(job, found[i], 0, clock)
  else
    put(leases_w, job, false)
  end
end

local function forget_domain(d)
  if d.n == 0 and d.a == 0 then
    local moment = free_from(d, 0)
    if moment <= now then
      d.gone = true
      touch(d)
    else
      put(idle_w, d.name, moment)
    end
  end
end

for _, name in ipairs(call('ZRANGEBYSCORE', IDLE, '-inf', now, 'LIMIT', 0, tonumber(ARGV[7]))) do
  put(idle_w, name, false)
  if sub(name, 1, 1) == '/' then
    local id = sub(name, 2)
    local packed = call('HGET', FLOWS, id)
    local f = packed and flow_of(id)
    if f and f.n == 0 then
      set_state(f, '-', 0)
      f.gone = true
    end
  else
    local p = place_of(name)
    if p.is_domain then
      forget_domain(p)
    elseif not p.new and p.n == 0 and not p.own then
      local moment = meaningless_from(p)
      if moment <= now then
        p.gone = true
        touch(p)
        local d = domain_of(p)
        if d then
          d.n = d.n - 1
          touch(d)
          forget_domain(d)
        end
      else
        put(idle_w, name, moment)
      end
    end
  end
end

commit()
return ids
