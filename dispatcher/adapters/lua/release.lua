-- Put leased jobs back for another try. Replies with 1 or 0 for each: 0 where the token is stale.
--
-- KEYS, ARGV[1..4]  as in shard.lua
-- ARGV[5]  MessagePack: {job, token of 16 digits, not_before_ms, {tags}} for each
--
-- Keeps: a job keeps its age, and the newest TAGS_AT_MOST of its tags; its place under the limits of host and domain is
-- free at once.
-- Cost: O(log n) each.

local replies, items, ids = {}, cmsgpack.unpack(ARGV[5]), {}
for i = 1, #items do
  ids[i] = items[i][1]
end
local found, clock = jobs_of(ids), tonumber(call('HGET', META, 'c')) or 0
read_around(found)

-- The tags of a job with others added; one that is given again counts as new.
local function with_tags(tags, more)
  local kept, given = {}, {}
  for _, tag in ipairs(more) do
    given[tag] = true
  end
  for tag in string.gmatch(tags, '[^\t]+') do
    if not given[tag] then
      kept[#kept + 1] = tag
    end
  end
  for _, tag in ipairs(more) do
    kept[#kept + 1] = tag
  end
  return table.concat(kept, '\t', max(1, #kept - TAGS_AT_MOST + 1))
end

for i, item in ipairs(items) do
  local job, j = ids[i], found[i]
  replies[i] = 0
  if j and jobs_w.values[job] == nil and j.token == item[2] then
    if #item[4] > 0 then
      local stop = find(j.common, '\n', 33, true)
      j.common = sub(j.common, 1, stop) .. with_tags(sub(j.common, stop + 1), item[4])
    end
    put_back(job, j, item[3], clock)
    replies[i] = 1
  end
end
commit()
return replies
