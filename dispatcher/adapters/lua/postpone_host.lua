-- No visit to hosts before a moment. Replies with 1 for each.
--
-- ARGV[1]  delay (ms) and ARGV[2] most at once of a host without a pace of its own
-- ARGV[3]  MessagePack: {host, until_ms} for each
--
-- Reads and writes, for each: T:host:<host>, T:ready and T:later of the host's pools, T:hosts of these
-- pools, T:idle.
-- Keeps: the moment never moves earlier.

local delay, most = tonumber(ARGV[1]), tonumber(ARGV[2])
local replies = {}
for i, item in ipairs(cmsgpack.unpack(ARGV[3])) do
  local s = load_host(item[1], delay, most)
  if item[2] > s.w then
    s.w = item[2]
    call('HSET', T .. ':host:' .. item[1], 'w', s.w)
    settle(item[1], s)
  end
  replies[i] = 1
end
return replies
