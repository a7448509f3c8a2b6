-- Say that the jobs were added again from the ledger. Replies with 1, or 0 where the data was lost during the rebuild.
--
-- KEYS[1]  intact      STRING  the run of the server the jobs were last rebuilt for
-- KEYS[2]  rebuilding  HASH    who rebuilds: set when a rebuild begins
-- ARGV[1]  run of the server the rebuild was made for
-- ARGV[2]  who rebuilds: a field of rebuilding that was set when the rebuild began, or empty for a first fill

if ARGV[2] ~= '' and redis.call('HDEL', KEYS[2], ARGV[2]) == 0 then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1])
return 1
