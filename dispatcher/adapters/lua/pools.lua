-- The pools in which any job waits, due or not. Replies with their names.
--
-- KEYS, ARGV[1..4]  as in shard.lua

local names, found = {}, call('HGETALL', POOLS)
for i = 1, #found, 2 do
  local _, waiting = struct.unpack(POOL, found[i + 1])
  if waiting > 0 then
    names[#names + 1] = found[i]
  end
end
return names
