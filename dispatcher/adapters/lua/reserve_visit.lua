-- Reserve the next free moment of hosts for a redirect hop. Replies with the moment (ms) for each.
--
-- ARGV[1]  delay (ms) and ARGV[2] most at once of a host without a pace of its own
-- ARGV[3]  MessagePack: {host, now_ms} for each
--
-- Reads and writes, for each: T:host:<host>, T:ready and T:later of the host's pools, T:hosts of these
-- pools, T:idle.
-- Keeps: the delay between the moment and every start before and after it. It takes no place under the host's limit: the
-- job that hops holds a lease already.

local delay, most = tonumber(ARGV[1]), tonumber(ARGV[2])
local replies = {}
for i, item in ipairs(cmsgpack.unpack(ARGV[3])) do
  local s = load_host(item[1], delay, most)
  s.l = math.max(free_at(s), item[2])
  call('HSET', T .. ':host:' .. item[1], 'l', s.l)
  settle(item[1], s)
  replies[i] = s.l
end
return replies
