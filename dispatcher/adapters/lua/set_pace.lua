-- Set how hosts may be visited. Replies with 1 for each.
--
-- ARGV[1]  MessagePack: {host, delay_ms, most at once} for each
--
-- Reads and writes, for each: T:host:<host>, T:ready and T:later of the host's pools, T:hosts of these
-- pools, T:idle.
-- Keeps: the delay counts from the latest start, so that a longer one already holds for the next visit.

local replies = {}
for i, item in ipairs(cmsgpack.unpack(ARGV[1])) do
  call('HSET', T .. ':host:' .. item[1], 'd', item[2], 'c', item[3])
  call('ZREM', T .. ':idle', item[1])
  settle(item[1], load_host(item[1], item[2], item[3]))
  replies[i] = 1
end
return replies
