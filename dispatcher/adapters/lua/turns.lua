-- Prelude 2 of 4: flows, which are the teams in a pool, and the order in which they take turns.
--
-- Among the flows with something due, the one that was served least recently goes next: fair queueing with leases of
-- one size. A pool counts its leases, and a flow's turn is the number of its last one. So a flow waits for at most one
-- lease of each other flow, whatever numbers of jobs they have, and gains nothing by having been idle but to go first
-- once.
--
-- Record of a flow: turn, moment it naps until, jobs known, state, pool's letters; then its pool|team.
--   state A  it takes turns: turns has `pool A turn flow`
--         N  it has nothing due before its moment: turns has `pool N moment flow`
--         -  it has nothing in due
-- Record of a pool: leases, jobs that wait or are delayed, its letters.
--
-- Invariants:
--   1. A flow with an entry in due is in turns once, and if as N, then with a moment no later than its first entry.
--   2. A flow's record exists while it has jobs, and 60 s longer, so that a team does not gain a turn by coming back.

local FLOW, POOL = '<ddi4c1c3', '<di4c3'
local flows, pools = {}, {}
local touched_flows, touched_pools = {}, {}

local function letters(number, width)
  local word = ''
  for _ = 1, width do
    word = string.char(97 + number % 26) .. word
    number = math.floor(number / 26)
  end
  return word
end

local function touch_flow(f)
  if not f.touched then
    f.touched = true
    touched_flows[#touched_flows + 1] = f
  end
end

local function touch_pool(p)
  if not p.touched then
    p.touched = true
    touched_pools[#touched_pools + 1] = p
  end
end

-- A pool's record, or nil where it never had a job.
local function pool_named(name)
  local p = pools[name]
  if not p then
    local packed = call('HGET', POOLS, name)
    if packed then
      p = {name = name}
      p.v, p.waiting, p.id = struct.unpack(POOL, packed)
      pools[name] = p
    end
  end
  return p
end

local function make_pool(name)
  local p = {name = name, v = 0, waiting = 0, id = letters(call('HINCRBY', META, 'p', 1), 3)}
  pools[name] = p
  touch_pool(p)
  return p
end

local function decode_flow(id, packed)
  local f, at = {id = id}, nil
  f.v, f.moment, f.n, f.state, f.pool_id, at = struct.unpack(FLOW, packed)
  f.name = sub(packed, at)
  flows[id] = f
  return f
end

local function flow_of(id)
  return flows[id] or decode_flow(id, call('HGET', FLOWS, id))
end

-- Read the records of flows that are not read yet, in one call.
local function read_flows(ids)
  local missing, asked = {}, {}
  for _, id in ipairs(ids) do
    if not flows[id] and not asked[id] then
      asked[id] = true
      missing[#missing + 1] = id
    end
  end
  if #missing > 0 then
    for i, packed in ipairs(call('HMGET', FLOWS, unpack(missing))) do
      decode_flow(missing[i], packed)
    end
  end
end

local function flow_named(pool_name, team)
  local name = pool_name .. '|' .. team
  local id = call('HGET', FLOWS, name)
  if id then
    return flow_of(id)
  end
  local p = pool_named(pool_name) or make_pool(pool_name)
  id = letters(call('HINCRBY', META, 'f', 1), 6)
  local f = {id = id, v = 0, moment = 0, n = 0, state = '-', pool_id = p.id, name = name}
  flows[id] = f
  put(flows_w, name, id)
  touch_flow(f)
  return f
end

local function pool_of(f)
  if not f.pool then
    f.pool = pool_named(sub(f.name, 1, find(f.name, '|', 1, true) - 1))
  end
  return f.pool
end

-- Say what a flow does about turns: A, N until a moment, or nothing.
local function set_state(f, state, moment)
  if f.state == 'A' then
    put(turns_w, f.pool_id .. 'A' .. digits(f.listed or f.v) .. f.id, false)
    f.listed = nil
  elseif f.state == 'N' then
    put(turns_w, f.pool_id .. 'N' .. digits(f.moment) .. f.id, false)
  end
  f.state, f.moment = state, moment
  if state == 'A' then
    put(turns_w, f.pool_id .. 'A' .. digits(f.v) .. f.id, '0')
  elseif state == 'N' then
    put(turns_w, f.pool_id .. 'N' .. digits(moment) .. f.id, '0')
  end
  touch_flow(f)
end

-- A flow has an entry in due at a moment.
local function wake(f, moment)
  if f.state == '-' or (f.state == 'N' and moment < f.moment) then
    set_state(f, 'N', moment)
  end
end

-- A flow was served: its next turn comes after those of all others. Its entry in turns follows when the flow does
-- something else, or with note_flows.
local function served(f, pool)
  f.listed = f.listed or f.v
  pool.v = pool.v + 1
  f.v = pool.v
  touch_flow(f)
end

-- Let flows whose nap is over by `now` take turns, at most `most` of them; whether there may be more.
local function end_naps(pool, now, most)
  local first, last = '[' .. pool.id .. 'N', '(' .. pool.id .. 'N' .. digits(now + 1)
  local found = call('ZRANGEBYLEX', TURNS, first, last, 'LIMIT', 0, most)
  for i = 1, #found do
    found[i] = sub(found[i], 18)
  end
  read_flows(found)
  for _, id in ipairs(found) do
    set_state(flows[id], 'A', 0)
  end
  flush(turns_w)
  return #found == most
end

-- Read up to `want` entries of a flow that are due by `now` into f.ahead: of the highest priority, the earliest first.
-- Where none is, f.next is the moment of its first one, and false is returned.
local function look_ahead(f, now, want)
  -- What this flow filed since due was written must be found there.
  if f.changed == due_w.flushes then
    flush(due_w)
  end
  f.ahead, f.at, f.next = nil, 1, nil
  local last, now_digits = '(' .. f.id .. '~', digits(now)
  local first = '[' .. f.id
  while true do
    local found = call('ZRANGEBYLEX', DUE, first, last, 'LIMIT', 0, want)
    if #found == 0 then
      return false
    end
    -- Everything due at this rank sorts before this.
    local due_before = sub(found[1], 1, 7) .. now_digits .. '~'
    if found[1] < due_before then
      local last_due = #found
      while found[last_due] > due_before do
        found[last_due] = nil
        last_due = last_due - 1
      end
      f.ahead = found
      return true
    end
    f.next = min(f.next or math.huge, tonumber(sub(found[1], 8, 20)))
    first = '[' .. f.id .. (tonumber(sub(found[1], 7, 7)) + 1)
  end
end

-- The next of the entries that were read ahead; nil after the last. What moved since must be noticed by the caller.
local function next_ahead(f)
  local entry = f.ahead and f.ahead[f.at]
  f.at = f.at + 1
  return entry
end

-- Nothing of a flow is due, as look_ahead found.
local function rest(f)
  if f.next then
    set_state(f, 'N', f.next)
  else
    set_state(f, '-', 0)
  end
end

local function note_flows()
  for _, f in ipairs(touched_flows) do
    if f.listed then
      set_state(f, 'A', 0)
    end
    if f.gone then
      put(flows_w, f.name, false)
    end
    put(flows_w, f.id, not f.gone and struct.pack(FLOW, f.v, f.moment, f.n, f.state, f.pool_id) .. f.name)
    f.touched = false
  end
  for _, p in ipairs(touched_pools) do
    put(pools_w, p.name, struct.pack(POOL, p.v, p.waiting, p.id))
    p.touched = false
  end
  touched_flows, touched_pools = {}, {}
end
