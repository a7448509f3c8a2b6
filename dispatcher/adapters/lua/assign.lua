-- Note who works on leases, and until when. Replies with 1 or 0 for each: 0 where the token is stale.
--
-- KEYS, ARGV[1..4]  as in shard.lua
-- ARGV[5]  MessagePack: {job, token of 16 digits, expires_ms, node key, hash of the signed job} for each; without the
--          last two, the end of the lease moves and whoever works on it stays
--
-- Cost: O(log n) each.

local replies, items, ids = {}, cmsgpack.unpack(ARGV[5]), {}
for i = 1, #items do
  ids[i] = items[i][1]
end
local found = jobs_of(ids)
for i, item in ipairs(items) do
  local j = found[i]
  replies[i] = 0
  if j and j.token == item[2] then
    local expires = digits(item[3])
    -- A later item may speak of the same job.
    j.node, j.hash = item[4] or j.node, item[5] or j.hash
    for later = i + 1, #items do
      if ids[later] == ids[i] then
        found[later] = j
      end
    end
    put(jobs_w, ids[i], leased_record(j, expires))
    put(leases_w, ids[i], expires)
    replies[i] = 1
  end
end
flush_all()
return replies
