-- When the next host of a pool may be visited (ms); nothing while no host waits for its moment.
--
-- ARGV[1]  pool
--
-- Reads: T:hosts:<pool>.

local first = call('ZRANGE', T .. ':hosts:' .. ARGV[1], 0, 0, 'WITHSCORES')
return first[2] and tonumber(first[2]) or false
