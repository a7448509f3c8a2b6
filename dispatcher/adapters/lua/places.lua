-- Prelude 3 of 4: places, which are hosts and registered domains, and the claims that flows have on them.
--
-- Record of a place (little-endian, no padding): latest start (ms, -1e15: none), no visit before (ms), end of its
-- latest back-off (ms), last slot of its line (ms), delay (ms) and most at once, leases held, jobs known (of a domain:
-- hosts with a record), flows at the last slot, how often its back-off has doubled, pace of its own; then of a host its
-- domain (empty: none), of a domain the reserved moments to come (13 digits each, ascending); a space; the claims, 21
-- characters each: flow, kind, rank, moment.
--   kind D  due has `flow rank moment place`
--        P  parked: the place holds as many leases as it may
--        L  of a host: queues has `.domain|flow rank moment host`, and the domain has a claim of the flow
--
-- Invariants:
--   1. A host has a claim of a flow if and only if queues has jobs of the two, and its rank is that of the first of
--      them. A domain has a claim of a flow if and only if queues has hosts of the two, and its rank is that of the
--      first.
--   2. The moment of a claim D is no later than the first one at which the place may be visited, so that whoever looks
--      at what is due misses nothing; found too early, it is filed again. A crowd, more than CROWD + 1 flows that want
--      one place, stands in line: that many at the next free moment, as many a delay later. So about CROWD of them look
--      in vain at each visit, whatever their number, and a flow that does not look takes nobody's moment.
--   3. Only a place that holds as many leases as it may has claims P; of a crowd, only the first in line park.
--   4. A host's leases are its jobs under a lease, a domain's those of its hosts.
--   5. A host without jobs and without a pace of its own is in idle, and so is a domain without hosts.
--
-- Cost: reading and filing a claim is O(log n), and a visit makes about CROWD others file theirs anew; the claims of a
-- place are looked through as bytes, 21 for each flow that has work there.

local BACK_OFF_FIRST, BACK_OFF_MOST = 5000, 3600000
local PLACE, NEVER, CROWD, LOOKS = '<dddddi4i4i4i4BB', -1e15, 3, 64
local WHOLE_PLACE = PLACE .. 'c0c0c0'
-- Where, in a packed record, leases held, jobs known, flows at the last slot and doublings of the back-off stand, and
-- what follows the numbers.
local COUNTS, COUNTS_FROM, COUNTS_TO, TEXT_FROM = '<i4i4i4B', 45, 57, 59
local MOST_RESERVED = 64
local NO_MOMENT = '0000000000000'
local places, touched_places = {}, {}

local function touch(p)
  if not p.touched then
    p.touched = true
    touched_places[#touched_places + 1] = p
  end
end

local function decode_place(name, packed)
  local is_domain, p = string.byte(name) == 46, nil
  if packed then
    local l, w, u, t, d, c, a, n, k, b, own, at = struct.unpack(PLACE, packed)
    local gap = find(packed, ' ', at, true)
    p = {
      name = name, is_domain = is_domain, own = own == 1, touched = false,
      l = l, w = w, u = u, t = t, d = d, c = c, a = a, n = n, k = k, b = b,
      x = sub(packed, at, gap - 1), claims = sub(packed, gap + 1),
    }
  else
    p = {
      name = name, is_domain = is_domain, own = false, touched = false, new = true,
      l = NEVER, w = 0, u = 0, t = 0, d = 0, c = 0, a = 0, n = 0, k = 0, b = 0, x = '', claims = '',
    }
  end
  if not p.own then
    if is_domain then
      p.d, p.c = DOMAIN_DELAY, DOMAIN_MOST
    else
      p.d, p.c = DELAY, MOST
    end
  end
  places[name] = p
  return p
end

-- The record of a place; one that is not known is as good as a new one.
local function place_of(name)
  return places[name] or decode_place(name, call('HGET', PLACES, name))
end

local function read_missing(names)
  local missing, asked = {}, {}
  for _, name in ipairs(names) do
    if not places[name] and not asked[name] then
      asked[name] = true
      missing[#missing + 1] = name
    end
  end
  for first = 1, #missing, MOST_ARGUMENTS do
    local last = min(first + MOST_ARGUMENTS - 1, #missing)
    for i, packed in ipairs(call('HMGET', PLACES, unpack(missing, first, last))) do
      decode_place(missing[first + i - 1], packed)
    end
  end
end

-- Read the records of hosts and of their domains, in two calls.
local function read_hosts(names)
  read_missing(names)
  local domains = {}
  for _, name in ipairs(names) do
    local domain = places[name].x
    if domain ~= '' and not places[name].is_domain then
      domains[#domains + 1] = domain
    end
  end
  if #domains > 0 then
    read_missing(domains)
  end
end

-- The record of a host that is to have one; `domain` is that of a new one.
local function host_of(name, domain)
  local h = place_of(name)
  if h.new then
    h.new, h.x = false, domain
    touch(h)
    if domain ~= '' then
      local d = place_of(domain)
      d.new, d.n = false, d.n + 1
      touch(d)
    end
  end
  return h
end

local function domain_of(h)
  return h.x ~= '' and place_of(h.x) or nil
end

-- The first moment from t on at which a place may be visited, its limit apart.
local function free_from(p, t)
  local moment = max(t, p.l + p.d, p.w)
  if p.is_domain then
    for i = 1, #p.x, 13 do
      local reserved = tonumber(sub(p.x, i, i + 12))
      if reserved >= moment + p.d then
        break
      elseif reserved > moment - p.d then
        moment = reserved + p.d
      end
    end
  end
  return moment
end

-- Count a visit of a place at a moment that free_from gave. A moment of a domain that is still to come is kept apart,
-- so that it does not hold up the visits before it.
local function visit(p, moment, now)
  if p.is_domain then
    local x = p.x
    while x ~= '' and tonumber(sub(x, 1, 13)) <= now do
      p.l, x = max(p.l, tonumber(sub(x, 1, 13))), sub(x, 14)
    end
    if moment > now then
      local at, text = 1, digits(moment)
      while at < #x and sub(x, at, at + 12) < text do
        at = at + 13
      end
      x = sub(x, 1, at - 1) .. text .. sub(x, at)
      if #x > 13 * MOST_RESERVED then
        p.l, x = tonumber(sub(x, -13)), ''
      end
      moment = NEVER
    end
    p.x = x
  end
  p.l = max(p.l, moment)
  touch(p)
end

-- How long the next back-off of a host is.
local function next_wait(p)
  return min(BACK_OFF_MOST, BACK_OFF_FIRST * 2 ^ p.b)
end

-- When the record of a host without jobs means no more than none: it may be visited, and its back-off is forgotten.
local function meaningless_from(p)
  local moment = free_from(p, 0)
  if p.b > 0 then
    return max(moment, p.u + next_wait(p))
  end
  return moment
end

local function note_idle(h)
  if h.n == 0 and not h.own then
    put(idle_w, h.name, meaningless_from(h))
  end
end

-- A flow's claim on a place: where it stands, kind, rank, moment; nil where there is none.
local function claim_of(p, flow)
  local at = find(p.claims, flow, 1, true)
  if at then
    return at, sub(p.claims, at + 6, at + 6), sub(p.claims, at + 7, at + 7), sub(p.claims, at + 8, at + 20)
  end
end

local function set_claim(p, flow, at, kind, rank, moment)
  local claim = flow .. kind .. rank .. moment
  if at == 1 and #p.claims == 21 then
    p.claims = claim
  elseif not at then
    p.claims = p.claims .. claim
  else
    p.claims = sub(p.claims, 1, at - 1) .. claim .. sub(p.claims, at + 21)
  end
  touch(p)
end

local function drop_claim(p, at)
  p.claims = #p.claims == 21 and '' or sub(p.claims, 1, at - 1) .. sub(p.claims, at + 21)
  touch(p)
end

-- File a claim that is filed nowhere, made new where there is none: in due from `since` on, or parked. `queues`: where
-- the place has a crowd the flow stands in line with it: CROWD + 1 of them look at the next free moment, as many a
-- delay later, and so on.
local function file(p, f, rank, since, queues)
  f.changed = due_w.flushes
  local at = find(p.claims, f.id, 1, true)
  local free = free_from(p, since)
  local moment = free
  if queues and #p.claims > 21 * (CROWD + 1) then
    if p.t < free then
      p.t, p.k = free, 1
    elseif p.k <= CROWD then
      p.k = p.k + 1
    else
      p.t, p.k = p.t + p.d, 1
    end
    moment = p.t
  end
  if p.a >= p.c and moment == free then
    set_claim(p, f.id, at, 'P', rank, NO_MOMENT)
    return
  end
  local text = digits(moment)
  put(due_w, f.id .. rank .. text .. p.name, '0')
  set_claim(p, f.id, at, 'D', rank, text)
  wake(f, moment)
end

-- Take what is filed under a claim of kind D out of due.
local function unfile(p, f, rank, moment)
  f.changed = due_w.flushes
  put(due_w, f.id .. rank .. moment .. p.name, false)
end

-- Make a domain's claim true after the flow's line there changed. The line is read back, so it is written at once.
local function settle_line(d, f, since)
  local at, kind, rank, moment = claim_of(d, f.id)
  local line = d.name .. '|' .. f.id
  local first = call('ZRANGEBYLEX', QUEUES, '[' .. line, '(' .. line .. '~', 'LIMIT', 0, 1)[1]
  local wanted = first and sub(first, #line + 1, #line + 1)
  if at and kind == 'D' and (wanted ~= rank or since) then
    unfile(d, f, rank, moment)
  end
  if not wanted then
    if at then
      drop_claim(d, at)
    end
  elseif not at or (kind == 'D' and (wanted ~= rank or since)) then
    file(d, f, wanted, since or (at and tonumber(moment)) or 0)
  elseif wanted ~= rank then
    set_claim(d, f.id, at, kind, wanted, moment)
  end
end

-- A host that may be visited waits for its domain. Its claim is filed nowhere.
local function join_line(h, f, rank, moment)
  local at = claim_of(h, f.id)
  call('ZADD', QUEUES, '0', h.x .. '|' .. f.id .. rank .. moment .. h.name)
  set_claim(h, f.id, at, 'L', rank, moment)
  settle_line(place_of(h.x), f, nil)
end

local function leave_line(h, f, rank, moment)
  call('ZREM', QUEUES, h.x .. '|' .. f.id .. rank .. moment .. h.name)
end

-- The place has room again: its parked claims are due.
local function unpark(p)
  if p.a >= p.c or not find(p.claims, 'P', 1, true) then
    return
  end
  local parked = {}
  for i = 1, #p.claims, 21 do
    if sub(p.claims, i + 6, i + 6) == 'P' then
      parked[#parked + 1] = sub(p.claims, i, i + 5)
    end
  end
  read_flows(parked)
  for _, id in ipairs(parked) do
    local _, _, rank = claim_of(p, id)
    file(p, flows[id], rank, 0, true)
  end
end

-- The host that may be visited at t by an entry of due, and the domain whose line it stands in first; nil where there
-- is none, and then everything found in the way is filed where it belongs now.
local function visitable(f, entry, t)
  local name = sub(entry, 21)
  local p = place_of(name)
  -- What was read ahead may have been filed elsewhere since.
  if not find(p.claims, f.id .. 'D' .. sub(entry, 7, 20), 1, true) then
    return nil
  end
  if p.a >= p.c or free_from(p, t) > t then
    put(due_w, entry, false)
    file(p, f, sub(entry, 7, 7), t, true)
    return nil
  end
  if not p.is_domain then
    local d = domain_of(p)
    if d and (d.a >= d.c or free_from(d, t) > t) then
      put(due_w, entry, false)
      f.changed = due_w.flushes
      join_line(p, f, sub(entry, 7, 7), sub(entry, 8, 20))
      return nil
    end
    return p
  end
  local rank = sub(entry, 7, 7)
  local line = name .. '|' .. f.id
  for _ = 1, LOOKS do
    local first = call('ZRANGEBYLEX', QUEUES, '[' .. line, '(' .. line .. '~', 'LIMIT', 0, 1)[1]
    if not first or sub(first, #line + 1, #line + 1) ~= rank then
      settle_line(p, f, nil)
      return nil
    end
    local h = place_of(sub(first, #line + 15))
    if h.a < h.c and free_from(h, t) <= t then
      return h, p
    end
    call('ZREM', QUEUES, first)
    file(h, f, rank, t, true)
  end
  return nil
end

local function note_places()
  for _, p in ipairs(touched_places) do
    local own = p.own and 1 or 0
    local record = struct.pack(WHOLE_PLACE, p.l, p.w, p.u, p.t, p.d, p.c, p.a, p.n, p.k, p.b, own, p.x, ' ', p.claims)
    put(places_w, p.name, not p.gone and record)
    p.touched = false
  end
  touched_places = {}
end

-- Write everything.
local function commit()
  note_places()
  note_flows()
  flush_all()
end
