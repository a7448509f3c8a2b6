-- Lease jobs that are not known yet, each where its host may be visited at once. Replies for each with 0 where it is
-- leased, else with the moment (ms) from which it is worth asking again: that of the call where nothing but a place is
-- missing.
--
-- KEYS, ARGV[1..4]  as in shard.lua
-- ARGV[5]  MessagePack: {job, pool, host, domain, now_ms, expiry_ms, shards, which of them this is} for each
--
-- Keeps: what lease.lua keeps, of hosts, domains and tokens. A job that is known is left as it is, and 0 replied.
-- Cost: O(log n) each.

local meta = call('HMGET', META, 't', 'c', 'q')
local token, clock, age = tonumber(meta[1]) or 0, tonumber(meta[2]) or 0, tonumber(meta[3]) or 0
local replies, taken = {}, false
for i, item in ipairs(cmsgpack.unpack(ARGV[5])) do
  local job, now, shards, shard = item[1], item[5], item[7], item[8]
  replies[i] = 0
  if jobs_w.values[job] == nil and call('HEXISTS', JOBS, job) == 0 then
    local h = host_of(item[3], item[4])
    local d = domain_of(h)
    local moment = max(free_from(h, now), d and free_from(d, now) or now)
    if moment > now then
      replies[i] = moment
    elseif h.a >= h.c or (d and d.a >= d.c) then
      replies[i] = now
    else
      local f, expires = flow_named(item[2], ''), digits(item[6])
      taken, clock, age = true, max(clock, now), age + 1
      token = max(token, now * 1024 - 1) + 1
      token = token + (shard - token) % shards
      h.n, h.a, f.n = h.n + 1, h.a + 1, f.n + 1
      visit(h, now, now)
      if d then
        d.a = d.a + 1
        visit(d, now, now)
      end
      touch_flow(f)
      local common = f.id .. '09999999999999' .. format('%012x', age) .. h.name .. '\n'
      put(jobs_w, job, 'L' .. token_digits(token) .. expires .. common)
      put(leases_w, job, expires)
    end
    note_idle(h)
  end
end
commit()
if taken then
  call('HSET', META, 't', format('%.0f', token), 'c', digits(clock), 'q', format('%.0f', age))
end
return replies
