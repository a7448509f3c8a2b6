-- No visit to hosts before a moment. Replies with 1 for each.
--
-- KEYS, ARGV[1..4]  as in shard.lua
-- ARGV[5]  MessagePack: {host, domain, until_ms} for each
--
-- Keeps: the moment never moves earlier. What is filed under an earlier one is filed again when it is met.
-- Cost: O(log n) each.

local replies = {}
for i, item in ipairs(cmsgpack.unpack(ARGV[5])) do
  local h = host_of(item[1], item[2])
  h.w = max(h.w, item[3])
  touch(h)
  note_idle(h)
  replies[i] = 1
end
commit()
return replies
