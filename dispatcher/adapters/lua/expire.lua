-- Put jobs with expired leases back, and forget hosts whose state means nothing any more. Replies with the jobs' ids.
--
-- ARGV[1]  delay (ms) and ARGV[2] most at once of a host without a pace of its own
-- ARGV[3]  now (ms), ARGV[4] most jobs, and most hosts, of one call
--
-- Reads and writes: T:leases, T:idle, and for each job T:job:<job>, T:host:<host>, T:ready of its pool
-- and host, T:hosts of the host's pools.
-- Keeps: a job keeps its age. A host is forgotten only where it has no jobs, no pace of its own, and its next moment
-- has passed: a new visit to it is then as free as to an unknown host.

local delay, most = tonumber(ARGV[1]), tonumber(ARGV[2])
local now, limit = tonumber(ARGV[3]), tonumber(ARGV[4])
local jobs = call('ZRANGEBYSCORE', T .. ':leases', '-inf', now, 'LIMIT', 0, limit)
for i = 1, #jobs do
  local key = T .. ':job:' .. jobs[i]
  local v = call('HMGET', key, 'h', 'p', 'r', 'q')
  local s = load_host(v[1], delay, most)
  call('HDEL', key, 't', 'e', 'k', 'j')
  end_lease(jobs[i], v[1], s)
  enqueue(jobs[i], v[1], s, v[2], tonumber(v[3]), v[4], 0)
  settle(v[1], s)
end

local hosts = call('ZRANGEBYSCORE', T .. ':idle', '-inf', now, 'LIMIT', 0, limit)
for i = 1, #hosts do
  call('DEL', T .. ':host:' .. hosts[i])
  call('ZREM', T .. ':idle', hosts[i])
end
return jobs
