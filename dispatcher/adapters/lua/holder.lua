-- Who works on jobs now. Replies with {token, node key, job hash} for each, empty where nobody does.
--
-- ARGV[1]  MessagePack: the ids of the jobs
--
-- Reads, for each: T:job:<job>.

local replies = {}
for i, job in ipairs(cmsgpack.unpack(ARGV[1])) do
  local v = call('HMGET', T .. ':job:' .. job, 't', 'k', 'j')
  replies[i] = v[2] and v or {}
end
return replies
