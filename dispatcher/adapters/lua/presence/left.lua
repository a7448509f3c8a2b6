-- KEYS[1]  a node's key
-- ARGV[1]  the dispatcher and session that are over
-- Forgets a node, unless it has a newer session.
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('DEL', KEYS[1])
end
