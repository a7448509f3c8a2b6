-- Lease jobs whose hosts may be visited now. Replies with a flat list: job, host, token for each lease.
--
-- ARGV[1]  delay (ms) and ARGV[2] most at once of a host without a pace of its own
-- ARGV[3]  pool, ARGV[4] most leases, ARGV[5] now (ms), ARGV[6] expiry (ms)
-- ARGV[7]  a token every new one must exceed
--
-- Reads and writes: T:meta, T:hosts:<pool>, T:leases, and for each host visited T:host:<host>, T:ready
-- and T:later of every pool the host waits in, T:hosts of these pools, and T:job:<job> of the jobs that move.
-- Keeps: at least the delay between two starts on a host and at most `most` leases at once, over all pools and callers.
-- A token exceeds every token given before, even after all keys were lost, while the time given does not go back
-- and fewer than 1,024 tokens are given a millisecond.
-- Cost: O(log n) a lease. A delayed job costs one move in its life: at most PROMOTED of them at each visit.

local PROMOTED = 128
local delay, most = tonumber(ARGV[1]), tonumber(ARGV[2])
local pool, limit, now, expires = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local hosts_key = T .. ':hosts:' .. pool
local meta = call('HMGET', T .. ':meta', 't', 'c')
local clock = tonumber(meta[2]) or 0
local token = math.max(tonumber(meta[1]) or 0, now * 1024 - 1, tonumber(ARGV[7]))
local leases, taken = {}, 0

-- A host can be due and yet not free only where callers disagree on the pace of unknown hosts; settling it moves it on.
for _ = 1, limit + 100 do
  if taken == limit then
    break
  end
  local host = call('ZRANGEBYSCORE', hosts_key, '-inf', now, 'LIMIT', 0, 1)[1]
  if not host then
    break
  end
  local s = load_host(host, delay, most)
  if s.a < s.c and free_at(s) <= now then
    local ready, later = T .. ':ready:' .. pool .. '|' .. host, T .. ':later:' .. pool .. '|' .. host
    local due = call('ZRANGEBYSCORE', later, '-inf', now, 'LIMIT', 0, PROMOTED)
    for i = 1, #due do
      local priority = call('HGET', T .. ':job:' .. string.sub(due[i], 13), 'r')
      call('ZADD', ready, -tonumber(priority), due[i])
      call('ZREM', later, due[i])
    end
    local member = call('ZPOPMIN', ready)[1]
    if member then
      local job = string.sub(member, 13)
      taken = taken + 1
      token = token + 1
      call('HSET', T .. ':job:' .. job, 't', token, 'e', expires)
      call('ZADD', T .. ':leases', expires, job)
      s.a = s.a + 1
      s.l = now
      call('HSET', T .. ':host:' .. host, 'a', s.a, 'l', now)
      leases[taken * 3 - 2], leases[taken * 3 - 1], leases[taken * 3] = job, host, token
    end
  end
  settle(host, s)
end

if taken > 0 then
  call('HSET', T .. ':meta', 't', token)
end
if now > clock then
  call('HSET', T .. ':meta', 'c', now)
end
return leases
