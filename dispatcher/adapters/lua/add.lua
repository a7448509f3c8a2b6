-- Add jobs that are not known yet. Replies with how many were new.
--
-- KEYS, ARGV[1..4]  as in shard.lua
-- ARGV[5]  MessagePack: {pool, team} of each flow in ARGV[7]
-- ARGV[6]  MessagePack: {host, domain} of each host in ARGV[7]
-- ARGV[7]  MessagePack: {job, place in ARGV[5], place in ARGV[6], order, not_before_ms, tags parted by tabs} for
--          each job
--
-- Keeps: a known job, queued or leased, is left as it is. A host that was idle is not due before the latest time a
-- lease has seen, and so does not overtake hosts that are due already.
-- Cost: O(log n) a job.

local flows_given, hosts_given = cmsgpack.unpack(ARGV[5]), cmsgpack.unpack(ARGV[6])
local items = cmsgpack.unpack(ARGV[7])
local meta = call('HMGET', META, 'c', 'q')
local clock, age = tonumber(meta[1]) or 0, tonumber(meta[2]) or 0

local ids = {}
for i = 1, #items do
  ids[i] = items[i][1]
end
local known = records_of(ids)
local names = {}
for i, host in ipairs(hosts_given) do
  names[2 * i - 1], names[2 * i] = host[1], host[2] == '' and host[1] or host[2]
end
read_missing(names)

local added, flows_here, hosts_here = 0, {}, {}
for i, item in ipairs(items) do
  local job, flow_at, host_at = item[1], item[2], item[3]
  if not known[i] and jobs_w.values[job] == nil then
    added = added + 1
    local f = flows_here[flow_at]
    if not f then
      f = flow_named(flows_given[flow_at][1], flows_given[flow_at][2])
      flows_here[flow_at] = f
    end
    local h = hosts_here[host_at]
    if not h then
      h = host_of(hosts_given[host_at][1], hosts_given[host_at][2])
      hosts_here[host_at] = h
    end
    h.n, f.n = h.n + 1, f.n + 1
    touch(h)
    touch_flow(f)
    enqueue(job, f.id .. item[4] .. format('%012x', age + added) .. h.name .. '\n' .. item[6], h, f, item[5], clock)
  end
end

commit()
if added > 0 then
  call('HSET', META, 'q', format('%.0f', age + added))
end
return added
