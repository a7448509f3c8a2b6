-- Forget jobs for good, leased or queued. Replies with 1 or 0 for each: 0 where the job is not known.
--
-- KEYS, ARGV[1..4]  as in shard.lua
-- ARGV[5]  MessagePack: the ids of the jobs
--
-- Keeps: a job that was leased halves its host's back-off.
-- Cost: O(log n) each.

local replies, found = {}, forget(cmsgpack.unpack(ARGV[5]), true)
commit()
for i = 1, #found do
  replies[i] = found[i] and 1 or 0
end
return replies
