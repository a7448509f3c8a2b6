-- Note who works on leases, and until when. Replies with 1 or 0 for each: 0 where the token is stale.
--
-- ARGV[1]  MessagePack: {job, token, node_key, job_hash, expires_ms} for each
--
-- Reads and writes, for each: T:job:<job>, T:leases.

local replies = {}
for i, item in ipairs(cmsgpack.unpack(ARGV[1])) do
  local key = T .. ':job:' .. item[1]
  replies[i] = 0
  if tonumber(call('HGET', key, 't')) == item[2] then
    call('HSET', key, 'k', item[3], 'j', item[4], 'e', item[5])
    call('ZADD', T .. ':leases', item[5], item[1])
    replies[i] = 1
  end
end
return replies
