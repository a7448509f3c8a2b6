-- Prelude of every script of the frontier: the keys of a shard, and the one function that keeps the index true.
--
-- KEYS[1]  the hash tag of a shard, such as {m:0}. Every key below begins with it, so that all keys of a script
--          live in one slot of a cluster. A host, with everything about it, belongs to exactly one shard.
--
-- Keys of a shard T:
--   T:meta             HASH  t last token, c latest time seen by a lease (ms), s jobs known, q jobs ever added
--   T:job:<job>        HASH  h host, p pool, r priority, q age (12 hex digits);
--                            leased only: t token, e expiry (ms), k node key, j hash of the signed job
--   T:hosts:<pool>     ZSET  host by the moment it may be visited for this pool (ms)
--   T:ready:<pool>|<host>  ZSET  age..job by -priority: jobs that may be leased
--   T:later:<pool>|<host>  ZSET  age..job by not-before (ms): jobs that wait
--   T:host:<host>      HASH  d delay (ms), c most at once (both only where set), l latest start (ms),
--                            w no visit before (ms), a leases held now,
--                            p pools in which the host has jobs in `ready` or `later`, one a line
--   T:leases           ZSET  job by expiry (ms)
--   T:idle             ZSET  host by the moment its state means nothing any more (ms)
--   T:intact           STRING  the run of the server the jobs were last rebuilt for (written by the adapter)
--   T:rebuilding       HASH  who rebuilds since when (written by the adapter)
--
-- Invariants, true before and after every script:
--   1. T:hosts:<pool> holds a host if and only if the host has jobs in `ready` or `later` of the pool and holds fewer
--      leases than it may. A host at its limit is parked: no lease looks at it until one of its own ends.
--   2. Its score is max(l + d, w) where `ready` has a job, else the later of that and the first not-before.
--      So a host found due has a job that may be leased, and a lease never scans.
--   3. `a` is the number of the host's jobs that have a token, and these are in T:leases.
--   4. T:idle holds a host if and only if it has no jobs and no pace of its own.
--
-- Cost of settle(): O(P log H) for P pools in which the host waits and H hosts of a pool.
-- Large numbers are never joined to strings: Lua would round them to 14 digits.

local T = KEYS[1]
local call = redis.call

-- The state of a host; `delay` and `most` apply where it has no pace of its own.
local function load_host(host, delay, most)
  local v = call('HMGET', T .. ':host:' .. host, 'd', 'c', 'l', 'w', 'a', 'p')
  return {
    paced = v[1] and true or false,
    d = tonumber(v[1]) or delay,
    c = tonumber(v[2]) or most,
    l = tonumber(v[3]),
    w = tonumber(v[4]) or 0,
    a = tonumber(v[5]) or 0,
    p = v[6] or '',
  }
end

-- The first moment the host may be visited, jobs and leases apart.
local function free_at(s)
  if s.l and s.l + s.d > s.w then
    return s.l + s.d
  end
  return s.w
end

-- Make invariants 1, 2 and 4 true again for a host whose state is s.
local function settle(host, s)
  local free = free_at(s)
  local waiting, emptied = {}, false
  for pool in string.gmatch(s.p, '[^\n]+') do
    local due = false
    if call('EXISTS', T .. ':ready:' .. pool .. '|' .. host) == 1 then
      due = free
    else
      local first = call('ZRANGE', T .. ':later:' .. pool .. '|' .. host, 0, 0, 'WITHSCORES')
      if first[2] then
        due = math.max(free, tonumber(first[2]))
      end
    end
    if due then
      waiting[#waiting + 1] = pool
    else
      emptied = true
    end
    if due and s.a < s.c then
      call('ZADD', T .. ':hosts:' .. pool, due, host)
    else
      call('ZREM', T .. ':hosts:' .. pool, host)
    end
  end
  if emptied then
    s.p = table.concat(waiting, '\n')
    call('HSET', T .. ':host:' .. host, 'p', s.p)
  end
  if s.p == '' and s.a == 0 and not s.paced then
    call('ZADD', T .. ':idle', free, host)
  end
end

-- Put a job where it waits for its host. The caller settles the host, whose state is s.
local function enqueue(job, host, s, pool, priority, age, not_before)
  local queue = pool .. '|' .. host
  if not_before > 0 then
    call('ZADD', T .. ':later:' .. queue, not_before, age .. job)
  else
    call('ZADD', T .. ':ready:' .. queue, -priority, age .. job)
  end
  if not string.find('\n' .. s.p .. '\n', '\n' .. pool .. '\n', 1, true) then
    s.p = s.p == '' and pool or s.p .. '\n' .. pool
    call('HSET', T .. ':host:' .. host, 'p', s.p)
  end
end

-- End the lease of a job that has one: its host gets the place back. The caller settles the host, whose state is s.
local function end_lease(job, host, s)
  call('ZREM', T .. ':leases', job)
  s.a = math.max(s.a - 1, 0)
  call('HSET', T .. ':host:' .. host, 'a', s.a)
end
