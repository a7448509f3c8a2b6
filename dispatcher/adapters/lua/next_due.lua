-- When the next host of a pool may be visited. Replies with the moment (ms), or nothing while none waits for a moment.
--
-- KEYS, ARGV[1..4]  as in shard.lua
-- ARGV[5]  pool
--
-- Files what is found too early where it belongs, as a lease does. Nothing of the pool may be leased before the moment;
-- it may be too early where a delayed job's host is busy longer than the job is delayed, and after LOOKS looks.
-- Cost: O(log n), and what is filed again is not met again.

local LOOKS = 128
local clock = tonumber(call('HGET', META, 'c')) or 0
local pool = pool_named(ARGV[5])
if not pool then
  return false
end

local function first_of_flows()
  local moment
  for _ = 1, LOOKS do
    flush(turns_w)
    local found = call('ZRANGEBYLEX', TURNS, '[' .. pool.id, '(' .. pool.id .. '~', 'LIMIT', 0, 1)[1]
    if not found then
      return nil
    end
    local f = flow_of(sub(found, 18))
    local until_ms = f.state == 'A' and clock or f.moment
    moment = f.state == 'A' and 0 or f.moment
    if not look_ahead(f, until_ms, 1) then
      rest(f)
    elseif visitable(f, f.ahead[1], until_ms) then
      return tonumber(sub(f.ahead[1], 8, 20))
    end
  end
  return moment
end

local moment = first_of_flows()
local delayed = call('ZRANGEBYLEX', DELAYED, '[' .. pool.id, '(' .. pool.id .. '~', 'LIMIT', 0, 1)[1]
if delayed then
  moment = min(moment or math.huge, tonumber(sub(delayed, 4, 16)))
end
commit()
return moment or false
