-- Prelude 4 of 4: jobs.
--
-- Record of a job: state and what belongs to it, then flow, order, age, host, newline, tags:
--   W  waits                                          queues has `host|flow order age job`
--   D  delayed: moment                                delayed has `pool moment job`
--   L  leased: token (16 digits), expiry (13 digits)  leases has `job`
--   A  leased and assigned: token, expiry, node key, newline, hash of the signed job, newline
-- Tags are those of nodes and subnets that are not to have the job, parted by tabs.

local TAGS_AT_MOST = 16
local WAITS = byte('W')

-- A record taken apart. `common` is what it has in every state: flow (1-6), order (7-20), age (21-32), host, newline,
-- tags.
local function job_of(record)
  local state, at = sub(record, 1, 1), 2
  local token, expires, moment, node, hash
  if state == 'L' or state == 'A' then
    token, expires, at = sub(record, 2, 17), sub(record, 18, 30), 31
    if state == 'A' then
      local first = find(record, '\n', at, true)
      local second = find(record, '\n', first + 1, true)
      node, hash, at = sub(record, at, first - 1), sub(record, first + 1, second - 1), second + 1
    end
  elseif state == 'D' then
    moment, at = sub(record, 2, 14), 15
  end
  return {
    state = state, token = token, expires = expires, moment = moment, node = node, hash = hash,
    flow = sub(record, at, at + 5), host = sub(record, at + 32, find(record, '\n', at + 32, true) - 1),
    common = sub(record, at),
  }
end

-- The records of jobs; false where a job is not known.
local function records_of(ids)
  if #ids <= MOST_ARGUMENTS then
    return #ids > 0 and call('HMGET', JOBS, unpack(ids)) or {}
  end
  local found = {}
  for first = 1, #ids, MOST_ARGUMENTS do
    local some = call('HMGET', JOBS, unpack(ids, first, min(first + MOST_ARGUMENTS - 1, #ids)))
    for i = 1, #some do
      found[first + i - 1] = some[i]
    end
  end
  return found
end

-- The records of jobs taken apart; false where a job is not known.
local function jobs_of(ids)
  local found = records_of(ids)
  for i = 1, #found do
    found[i] = found[i] and job_of(found[i])
  end
  return found
end

-- A token as 16 digits.
local function token_digits(token)
  local high = floor(token / 100000000)
  return format('%08d%08d', high, token - high * 100000000)
end

-- The record of a leased job, assigned where it has a node.
local function leased_record(j, expires)
  if j.node then
    return 'A' .. j.token .. expires .. j.node .. '\n' .. j.hash .. '\n' .. j.common
  end
  return 'L' .. j.token .. expires .. j.common
end

-- Put a job where it waits: on its host, or until a moment. `common` is that part of its record; its host h and flow f
-- are known to have it. `clock` is the latest time a lease has seen: what is new is not due before it, and so does not
-- overtake what is.
local function enqueue(job, common, h, f, not_before, clock)
  local pool = pool_of(f)
  pool.waiting = pool.waiting + 1
  touch_pool(pool)
  if not_before > 0 then
    local moment = digits(not_before)
    put(delayed_w, f.pool_id .. moment .. job, '0')
    put(jobs_w, job, 'D' .. moment .. common)
    return
  end
  put(queues_w, h.name .. '|' .. sub(common, 1, 32) .. job, '0')
  put(jobs_w, job, 'W' .. common)
  local at = find(h.claims, f.id, 1, true)
  local wanted = sub(common, 7, 7)
  if not at then
    file(h, f, wanted, clock, true)
    return
  end
  local rank = sub(h.claims, at + 7, at + 7)
  if wanted < rank then
    local kind, moment = sub(h.claims, at + 6, at + 6), sub(h.claims, at + 8, at + 20)
    if kind == 'D' then
      unfile(h, f, rank, moment)
      put(due_w, f.id .. wanted .. moment .. h.name, '0')
    elseif kind == 'L' then
      leave_line(h, f, rank, moment)
      call('ZADD', QUEUES, '0', h.x .. '|' .. f.id .. wanted .. moment .. h.name)
    end
    set_claim(h, f.id, at, kind, wanted, moment)
    if kind == 'L' then
      settle_line(place_of(h.x), f, nil)
    end
  end
end

-- A job waits no more, or is delayed no more.
local function leave_pool(f)
  local pool = pool_of(f)
  pool.waiting = pool.waiting - 1
  touch_pool(pool)
end

-- Make a host's claim true after jobs of the flow left its queue, which must be written.
local function settle_claim(h, f)
  local at, kind, rank, moment = claim_of(h, f.id)
  if not at then
    return
  end
  local queue = h.name .. '|' .. f.id
  local first = call('ZRANGEBYLEX', QUEUES, '[' .. queue, '(' .. queue .. '~', 'LIMIT', 0, 1)[1]
  local wanted = first and sub(first, #queue + 1, #queue + 1)
  if wanted == rank then
    return
  end
  if kind == 'D' then
    unfile(h, f, rank, moment)
  elseif kind == 'L' then
    leave_line(h, f, rank, moment)
  end
  if not wanted then
    drop_claim(h, at)
  elseif kind == 'L' then
    call('ZADD', QUEUES, '0', h.x .. '|' .. f.id .. wanted .. moment .. h.name)
    set_claim(h, f.id, at, 'L', wanted, moment)
  else
    if kind == 'D' then
      put(due_w, f.id .. wanted .. moment .. h.name, '0')
    end
    set_claim(h, f.id, at, kind, wanted, moment)
  end
  if kind == 'L' then
    settle_line(place_of(h.x), f, nil)
  end
end

-- The lease of a job of this host ends: host and domain get the place back.
local function end_lease(job, h)
  put(leases_w, job, false)
  h.a = max(h.a - 1, 0)
  touch(h)
  unpark(h)
  local d = domain_of(h)
  if d then
    d.a = max(d.a - 1, 0)
    touch(d)
    unpark(d)
  end
end

-- Read the hosts, domains and flows of jobs, in three calls.
local function read_around(found)
  local names, ids = {}, {}
  for i = 1, #found do
    if found[i] then
      names[#names + 1], ids[#ids + 1] = found[i].host, found[i].flow
    end
  end
  if #names > 0 then
    read_hosts(names)
    read_flows(ids)
  end
end

-- A flow has no jobs: its record is kept for a while after the latest time a lease has seen.
local function note_idle_flow(f)
  put(idle_w, '/' .. f.id, (tonumber(call('HGET', META, 'c')) or 0) + 60000)
end

-- Forget jobs for good, leased or queued; `heals`: a leased one was fetched, which halves its host's back-off. Returns
-- the jobs as they were, false where one is not known.
local function forget(ids, heals)
  local found, unsettled = jobs_of(ids), {}
  read_around(found)
  for i, job in ipairs(ids) do
    local j = found[i]
    if j and jobs_w.values[job] == false then
      found[i], j = false, false
    end
    if j then
      local h, f = place_of(j.host), flow_of(j.flow)
      put(jobs_w, job, false)
      if j.token then
        if heals then
          h.b = max(h.b - 1, 0)
        end
        end_lease(job, h)
      elseif j.state == 'D' then
        put(delayed_w, f.pool_id .. j.moment .. job, false)
        leave_pool(f)
      else
        put(queues_w, h.name .. '|' .. sub(j.common, 1, 32) .. job, false)
        leave_pool(f)
        unsettled[#unsettled + 1] = {h, f}
      end
      h.n, f.n = h.n - 1, f.n - 1
      touch(h)
      touch_flow(f)
      note_idle(h)
      if f.n == 0 then
        note_idle_flow(f)
      end
    end
  end
  if #unsettled > 0 then
    flush(queues_w)
    for _, pair in ipairs(unsettled) do
      settle_claim(pair[1], pair[2])
    end
  end
  return found
end

-- Put a leased job back at its age, with the tags that `common` has now.
local function put_back(job, j, not_before, clock)
  local h, f = place_of(j.host), flow_of(j.flow)
  end_lease(job, h)
  enqueue(job, j.common, h, f, not_before, clock)
end
