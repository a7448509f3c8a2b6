-- Reserve the next free moment of hosts for a redirect hop. Replies with the moment (ms) for each.
--
-- KEYS, ARGV[1..4]  as in shard.lua
-- ARGV[5]  MessagePack: {host, domain, now_ms} for each
--
-- Keeps: the delay between the moment and every start before and after it, on the host and on its domain. It takes no
-- place under their limits: the job that hops holds a lease already.
-- Cost: O(log n) each.

local replies = {}
for i, item in ipairs(cmsgpack.unpack(ARGV[5])) do
  local h, now = host_of(item[1], item[2]), item[3]
  local d = domain_of(h)
  local moment = free_from(h, now)
  if d then
    moment = free_from(d, moment)
    visit(d, moment, now)
  end
  visit(h, moment, now)
  note_idle(h)
  replies[i] = moment
end
commit()
return replies
