-- Say that the jobs were added again from the ledger. Replies with 1, or 0 where the data was lost during the rebuild.
--
-- ARGV[1]  run of the server the rebuild was made for
-- ARGV[2]  who rebuilds: a field of T:rebuilding that was set when the rebuild began, or empty for a first fill
--
-- Reads and writes: T:intact, T:rebuilding.

if ARGV[2] ~= '' and call('HDEL', T .. ':rebuilding', ARGV[2]) == 0 then
  return 0
end
call('SET', T .. ':intact', ARGV[1])
return 1
