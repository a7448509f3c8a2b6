-- Lease jobs whose hosts may be visited now. Replies with a flat list: job, host, token, tags parted by tabs, for each.
--
-- KEYS, ARGV[1..4]  as in shard.lua
-- ARGV[5]  pool, ARGV[6] most leases, ARGV[7] now (ms), ARGV[8] expiry (ms)
-- ARGV[9]  a token every new one must exceed; ARGV[10] shards and ARGV[11] which of them this is: tokens are congruent
--          to it, so that two shards never give the same one
--
-- Keeps: at least the delay between two starts on a host, and on a domain, and at most as many leases at once as each
-- allows, over all pools and callers. Flows take turns (turns.lua). A token exceeds every token given before, even
-- after all keys were lost, while the time given does not go back and fewer than 1,024 / shards tokens are given a
-- millisecond; it is 1,024 times the time then, and a little more. Fewer leases than asked for: nothing else may be
-- leased now, but for what a crowded place holds back (places.lua) and for the bound on one call's work.
-- Cost: O(log n) a lease. What is met too early is filed again: paid by the visit that made it so, and bounded by 256
-- and 2 for each lease asked for. A delayed job costs one move in its life: at most PROMOTED a call.

local PROMOTED, NAPS, CHUNK, AHEAD, SPARE_LOOKS = 256, 1000, 64, 4, 256
local limit, now, expires = tonumber(ARGV[6]), tonumber(ARGV[7]), digits(tonumber(ARGV[8]))
local shards, shard = tonumber(ARGV[10]), tonumber(ARGV[11])
local meta = call('HMGET', META, 't', 'c')
local clock = max(tonumber(meta[2]) or 0, now)
local token = max(tonumber(meta[1]) or 0, now * 1024 - 1, tonumber(ARGV[9])) + 1
token = token + (shard - token) % shards
local pool = pool_named(ARGV[5])
local leased, hosts, following = {}, {}, {}
-- Entries of queues that were taken: they are removed with everything else, and not looked for before.
local taken = {}

local function promote()
  local first, last = '[' .. pool.id, '(' .. pool.id .. digits(now + 1)
  local found = call('ZRANGEBYLEX', DELAYED, first, last, 'LIMIT', 0, PROMOTED)
  if #found == 0 then
    return
  end
  local ids = {}
  for i = 1, #found do
    put(delayed_w, found[i], false)
    ids[i] = sub(found[i], 17)
  end
  local jobs = jobs_of(ids)
  read_around(jobs)
  for i, j in ipairs(jobs) do
    leave_pool(flow_of(j.flow))
    enqueue(ids[i], j.common, place_of(j.host), flow_of(j.flow), 0, clock)
  end
  flush(queues_w)
  flush(turns_w)
end

-- Flows in the order of their turns: those of a chunk that is read, then those that were served in this call.
local ahead, at, again, from = {}, 1, {}, nil
local complete, more_naps = false, true

-- Read a chunk of flows, what is due of them, and the places of that, in a few calls.
local function read_chunk()
  flush(turns_w)
  local size = min(CHUNK, limit - #leased)
  local found = call('ZRANGEBYLEX', TURNS, from, '(' .. pool.id .. 'A~', 'LIMIT', 0, size)
  complete = #found < size
  ahead, at = {}, 1
  local ids, names = {}, {}
  for i = 1, #found do
    ids[i] = sub(found[i], 18)
  end
  if #ids == 0 then
    return
  end
  from = '(' .. found[#found]
  read_flows(ids)
  local want = max(AHEAD, ceil(limit / #ids))
  for i = 1, #ids do
    local f = flows[ids[i]]
    if not f.seen then
      f.seen = true
      ahead[#ahead + 1] = f
      if look_ahead(f, now, want) then
        for k = 1, #f.ahead do
          names[#names + 1] = sub(f.ahead[k], 21)
        end
      end
    end
  end
  read_hosts(names)
end

local function next_flow()
  while at > #ahead do
    if more_naps then
      more_naps = end_naps(pool, now, NAPS)
      from, complete = '[' .. pool.id .. 'A', false
    end
    if complete then
      ahead, at, again = again, 1, {}
      if #ahead == 0 then
        return nil
      end
    else
      read_chunk()
    end
  end
  at = at + 1
  return ahead[at - 1]
end

-- The next entry of a flow that is due, nil where nothing is.
local function next_entry(f)
  local entry = next_ahead(f)
  if not entry and look_ahead(f, now, max(AHEAD, ceil((limit - #leased) / max(1, #ahead)))) then
    local names = {}
    for k = 1, #f.ahead do
      names[k] = sub(f.ahead[k], 21)
    end
    read_hosts(names)
    entry = next_ahead(f)
  end
  return entry
end

-- Take the first job of a flow from a host that may be visited, by its entry in due, or from the line of its domain d.
local function take(h, f, d, entry)
  local name, id = h.name, f.id
  -- What was taken before in this call is still in queues, before the job that was seen to follow it.
  local queue = name .. '|' .. id
  local found = call('ZRANGEBYLEX', QUEUES, '[' .. (following[queue] or queue), '(' .. queue .. '~', 'LIMIT', '0', '2')
  local first, second = found[1], found[2]
  local number = #leased + 1
  taken[number] = first

  if d then
    local _, _, rank, moment = claim_of(h, id)
    leave_line(h, f, rank, moment)
  else
    put(due_w, entry, false)
    f.changed = due_w.flushes
    d = domain_of(h)
  end
  h.a = h.a + 1
  visit(h, now, now)
  if second then
    if h.d == 0 then
      following[queue] = second
    end
    file(h, f, sub(second, #name + 8, #name + 8), now, true)
  else
    drop_claim(h, find(h.claims, id, 1, true))
  end
  if d then
    d.a = d.a + 1
    visit(d, now, now)
    if find(d.claims, id, 1, true) then
      settle_line(d, f, now)
    end
  end
  leased[number] = sub(first, #name + 34)
  hosts[number] = name
end

local replies = {}
if pool then
  promote()
  local looks = 2 * limit + SPARE_LOOKS
  while #leased < limit and looks > 0 do
    local f = next_flow()
    if not f then
      break
    end
    local h, d, entry
    repeat
      looks = looks - 1
      entry = next_entry(f)
      if not entry then
        break
      end
      h, d = visitable(f, entry, now)
    until h or looks <= 0
    if h then
      take(h, f, d, entry)
      served(f, pool)
      again[#again + 1] = f
    elseif looks > 0 then
      rest(f)
    end
  end

  local new_records, new_leases = {}, {}
  for i, record in ipairs(records_of(leased)) do
    local job = leased[i]
    local common = sub(record, byte(record) == WAITS and 2 or 15)
    local even = i + i
    new_records[even - 1], new_records[even] = job, 'L' .. token_digits(token) .. expires .. common
    new_leases[even - 1], new_leases[even] = expires, job
    local last = even + even
    replies[last - 3], replies[last - 2], replies[last - 1] = job, hosts[i], token
    replies[last] = sub(common, find(common, '\n', 33, true) + 1)
    token = token + shards
  end
  if #leased > 0 then
    pool.waiting = pool.waiting - #leased
    touch_pool(pool)
    send('ZREM', QUEUES, taken)
  end
  commit()
  send('ZADD', LEASES, new_leases)
  send('HSET', JOBS, new_records)
end

if #leased > 0 then
  call('HSET', META, 't', format('%.0f', token - shards), 'c', digits(clock))
elseif clock > (tonumber(meta[2]) or 0) then
  call('HSET', META, 'c', digits(clock))
end
return replies
