-- KEYS[1]  a node's key
-- ARGV[1]  where it is: dispatcher and session
-- ARGV[2]  for how long, in milliseconds
-- Remembers a node where it is, or where nothing is known of it any more; one that has arrived elsewhere is left there.
local known = redis.call('GET', KEYS[1])
if not known or known == ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
