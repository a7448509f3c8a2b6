-- Forget jobs for good, leased or queued. Replies with 1 or 0 for each: 0 where the job is not known.
--
-- ARGV[1]  delay (ms) and ARGV[2] most at once of a host without a pace of its own
-- ARGV[3]  MessagePack: the ids of the jobs
--
-- Reads and writes, for each: T:meta, T:job:<job>, T:leases, T:host:<host>, T:ready and T:later of its
-- pool and host, T:hosts of the host's pools, T:idle.

local delay, most = tonumber(ARGV[1]), tonumber(ARGV[2])
local replies, known = {}, 0
for i, job in ipairs(cmsgpack.unpack(ARGV[3])) do
  local key = T .. ':job:' .. job
  local v = call('HMGET', key, 'h', 'p', 'q', 't')
  local host = v[1]
  replies[i] = 0
  if host then
    local s = load_host(host, delay, most)
    if v[4] then
      end_lease(job, host, s)
    else
      local queue = v[2] .. '|' .. host
      if call('ZREM', T .. ':ready:' .. queue, v[3] .. job) == 0 then
        call('ZREM', T .. ':later:' .. queue, v[3] .. job)
      end
    end
    call('DEL', key)
    settle(host, s)
    replies[i] = 1
    known = known + 1
  end
end
if known > 0 then
  call('HINCRBY', T .. ':meta', 's', -known)
end
return replies
