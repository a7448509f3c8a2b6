-- Forget jobs for good, leased or queued. Replies with {token, node key, job hash} of each that a node worked on, else
-- with an empty list.
--
-- KEYS, ARGV[1..4]  as in shard.lua
-- ARGV[5]  MessagePack: the ids of the jobs
--
-- Cost: O(log n) each.

local replies, found = {}, forget(cmsgpack.unpack(ARGV[5]), false)
commit()
for i, j in ipairs(found) do
  replies[i] = j and j.node and {j.token, j.node, j.hash} or {}
end
return replies
