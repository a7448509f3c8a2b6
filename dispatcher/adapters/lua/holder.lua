-- Who works on jobs now. Replies with {token, node key, job hash} for each, empty where nobody does.
--
-- KEYS, ARGV[1..4]  as in shard.lua
-- ARGV[5]  MessagePack: the ids of the jobs

local replies, found = {}, jobs_of(cmsgpack.unpack(ARGV[5]))
for i, j in ipairs(found) do
  replies[i] = j and j.node and {j.token, j.node, j.hash} or {}
end
return replies
