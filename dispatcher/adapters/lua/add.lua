-- Add jobs that are not known yet. Replies with how many were new.
--
-- ARGV[1]  delay (ms) and ARGV[2] most at once of a host without a pace of its own
-- ARGV[3]  MessagePack: {job, host, pool, priority, not_before_ms} for each job
--
-- Reads and writes, for each job: T:meta, T:job:<job>, T:ready and T:later of its pool and host,
-- T:host:<host>, T:hosts:<pool>, T:idle.
-- Keeps: a known job, queued or leased, is left as it is. A host that had nothing waiting enters behind the hosts that
-- are due already: its moment is at least the latest time a lease has seen.

local delay, most = tonumber(ARGV[1]), tonumber(ARGV[2])
local meta = call('HMGET', T .. ':meta', 'c', 'q')
local clock, age = tonumber(meta[1]) or 0, tonumber(meta[2]) or 0
local hosts, order, added = {}, {}, 0

for _, item in ipairs(cmsgpack.unpack(ARGV[3])) do
  local job, host, pool, priority, not_before = item[1], item[2], item[3], item[4], item[5]
  local key = T .. ':job:' .. job
  if call('EXISTS', key) == 0 then
    added = added + 1
    age = age + 1
    local hex = string.format('%012x', age)
    call('HSET', key, 'h', host, 'p', pool, 'r', priority, 'q', hex)
    local s = hosts[host]
    if not s then
      s = load_host(host, delay, most)
      hosts[host] = s
      order[#order + 1] = host
      if s.p == '' then
        s.w = math.max(s.w, clock)
        call('HSET', T .. ':host:' .. host, 'w', s.w)
        call('ZREM', T .. ':idle', host)
      end
    end
    enqueue(job, host, s, pool, priority, hex, not_before)
  end
end

for i = 1, #order do
  settle(order[i], hosts[order[i]])
end
if added > 0 then
  call('HSET', T .. ':meta', 'q', age)
  call('HINCRBY', T .. ':meta', 's', added)
end
return added
