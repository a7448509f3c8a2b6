-- Put leased jobs back for another try. Replies with 1 or 0 for each: 0 where the token is stale.
--
-- ARGV[1]  delay (ms) and ARGV[2] most at once of a host without a pace of its own
-- ARGV[3]  MessagePack: {job, token, not_before_ms} for each
--
-- Reads and writes, for each: T:job:<job>, T:leases, T:host:<host>, T:ready and T:later of its pool and
-- host, T:hosts of the host's pools.
-- Keeps: a job keeps its age; its place under the host's limit is free at once.

local delay, most = tonumber(ARGV[1]), tonumber(ARGV[2])
local replies = {}
for i, item in ipairs(cmsgpack.unpack(ARGV[3])) do
  local job = item[1]
  local key = T .. ':job:' .. job
  local v = call('HMGET', key, 'h', 'p', 'r', 'q', 't')
  replies[i] = 0
  if tonumber(v[5]) == item[2] then
    local s = load_host(v[1], delay, most)
    call('HDEL', key, 't', 'e', 'k', 'j')
    end_lease(job, v[1], s)
    enqueue(job, v[1], s, v[2], tonumber(v[3]), v[4], item[3])
    settle(v[1], s)
    replies[i] = 1
  end
end
return replies
