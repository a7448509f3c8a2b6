-- Prelude 1 of 4: the keys of a shard, and writes that wait until the end of the script.
--
-- The frontier is spread over shards. A shard holds whole registered domains with all their hosts and jobs, and turns
-- of its own for the teams. Its keys are these eleven, whatever number of jobs there is, and begin with one hash tag.
--
-- KEYS[1]   jobs     HASH  job -> its record (jobs.lua)
-- KEYS[2]   places   HASH  host or .domain -> its record (places.lua)
-- KEYS[3]   flows    HASH  flow -> its record, and pool|team -> flow (turns.lua)
-- KEYS[4]   pools    HASH  pool -> its record (turns.lua)
-- KEYS[5]   queues   ZSET  host|flow order age job: jobs that wait for their host, and
--                          .domain|flow rank moment host: hosts that wait for their domain
-- KEYS[6]   due      ZSET  flow rank moment place: places in which a flow has work, by when they may be visited
-- KEYS[7]   delayed  ZSET  pool moment job: jobs that are not to be leased before a moment
-- KEYS[8]   turns    ZSET  pool A turn flow: flows that take turns, and pool N moment flow: those with nothing due
-- KEYS[9]   leases   ZSET  job by expiry (ms)
-- KEYS[10]  idle     ZSET  host, .domain or /flow by the moment (ms) its record may mean nothing any more
-- KEYS[11]  meta     HASH  t last token, c latest time seen by a lease (ms), q jobs ever added, f flows, p pools made
--
-- ARGV[1]   delay (ms) and ARGV[2] most at once of a host without a pace of its own
-- ARGV[3]   delay (ms) and ARGV[4] most at once of a domain
--
-- queues, due, delayed and turns have score 0 throughout: their members are ordered as bytes. Parts of a member have
-- fixed widths: flow 6 letters, pool 3 letters, rank 1 digit (3 - priority: the lowest goes first), moment and turn 13
-- digits, age 12 hex digits, order = rank and deadline (13 digits, nines for none).
--
-- Time comes with the call; no script asks the server's clock, and none depends on the order of a Lua table.
-- Nothing is written before commit(): removals go first, so that a server without memory can still be emptied. The one
-- exception is the line of a domain, which is read back within the script.

local JOBS, PLACES, FLOWS, POOLS, QUEUES = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local DUE, DELAYED, TURNS, LEASES, IDLE, META = KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10], KEYS[11]
local DELAY, MOST = tonumber(ARGV[1]), tonumber(ARGV[2])
local DOMAIN_DELAY, DOMAIN_MOST = tonumber(ARGV[3]), tonumber(ARGV[4])

local call, sub, find, format, byte = redis.call, string.sub, string.find, string.format, string.byte
local max, min, ceil, floor = math.max, math.min, math.ceil, math.floor

-- Lua passes at most some 8,000 arguments; even, so that pairs stay together.
local MOST_ARGUMENTS = 4000

local function send(command, key, arguments)
  for first = 1, #arguments, MOST_ARGUMENTS do
    call(command, key, unpack(arguments, first, min(first + MOST_ARGUMENTS - 1, #arguments)))
  end
end

-- A moment as 13 digits. Those of one call are few.
local moments = {}
local function digits(ms)
  local text = moments[ms]
  if not text then
    text = format('%013d', ms)
    moments[ms] = text
  end
  return text
end

local function writes_of(key, remove, add)
  return {key = key, remove = remove, add = add, is_hash = add == 'HSET', order = {}, values = {}, flushes = 0}
end

local jobs_w, places_w = writes_of(JOBS, 'HDEL', 'HSET'), writes_of(PLACES, 'HDEL', 'HSET')
local flows_w, pools_w = writes_of(FLOWS, 'HDEL', 'HSET'), writes_of(POOLS, 'HDEL', 'HSET')
local queues_w, due_w = writes_of(QUEUES, 'ZREM', 'ZADD'), writes_of(DUE, 'ZREM', 'ZADD')
local delayed_w, turns_w = writes_of(DELAYED, 'ZREM', 'ZADD'), writes_of(TURNS, 'ZREM', 'ZADD')
local leases_w, idle_w = writes_of(LEASES, 'ZREM', 'ZADD'), writes_of(IDLE, 'ZREM', 'ZADD')
local WRITES = {leases_w, queues_w, due_w, delayed_w, turns_w, idle_w, jobs_w, places_w, flows_w, pools_w}

-- Note a write: a score, or the value of a field; false removes. The last note of a member counts.
local function put(writes, member, value)
  local values = writes.values
  if values[member] == nil then
    writes.order[#writes.order + 1] = member
  end
  values[member] = value
end

local function split(writes)
  local gone, set, values, order = {}, {}, writes.values, writes.order
  local last, field, value_at = 0, writes.is_hash and 1 or 2, writes.is_hash and 2 or 1
  for i = 1, #order do
    local member = order[i]
    local value = values[member]
    if value then
      set[last + field], set[last + value_at] = member, value
      last = last + 2
    else
      gone[#gone + 1] = member
    end
  end
  writes.order, writes.values = {}, {}
  return gone, set
end

-- Write what is noted for one key.
local function flush(writes)
  if #writes.order > 0 then
    writes.flushes = writes.flushes + 1
    local gone, set = split(writes)
    send(writes.remove, writes.key, gone)
    send(writes.add, writes.key, set)
  end
end

-- Write everything that is noted.
local function flush_all()
  local sets = {}
  for i, writes in ipairs(WRITES) do
    if #writes.order > 0 then
      local gone
      gone, sets[i] = split(writes)
      send(writes.remove, writes.key, gone)
    end
  end
  for i, writes in ipairs(WRITES) do
    if sets[i] then
      send(writes.add, writes.key, sets[i])
    end
  end
end
