-- KEYS[1]  a key's bucket: a hash of `units` and `at_ms`
-- ARGV[1]  requests a minute
-- ARGV[2]  now, in UTC milliseconds
-- Takes one request out of a bucket; {1 or 0, requests left, milliseconds until the next one, until it is full}.
-- The arithmetic is that of dispatcher/rate_limits.py: a request is 60000 units, a millisecond brings ARGV[1] of them.
local rate, now = tonumber(ARGV[1]), tonumber(ARGV[2])
local full = rate * 60000
local known = redis.call('HMGET', KEYS[1], 'units', 'at_ms')
local units, at = tonumber(known[1] or full), tonumber(known[2] or now)
if now > at then
  units = units + (now - at) * rate
else
  now = at
end
if units > full then
  units = full
end
local granted = 0
if units >= 60000 then
  granted = 1
  units = units - 60000
end
redis.call('HSET', KEYS[1], 'units', string.format('%.0f', units), 'at_ms', string.format('%.0f', now))
redis.call('PEXPIRE', KEYS[1], 120000)
local wait = 0
if units < 60000 then
  wait = math.ceil((60000 - units) / rate)
end
return {granted, math.floor(units / 60000), wait, math.ceil((full - units) / rate)}
