-- Set how hosts may be visited. Replies with 1 for each.
--
-- KEYS, ARGV[1..4]  as in shard.lua
-- ARGV[5]  MessagePack: {host, domain, delay_ms, most at once} for each
--
-- Keeps: the delay counts from the latest start, so that a longer one already holds for the next visit.
-- Cost: O(f log n) each for f flows with work on the host.

local replies = {}
for i, item in ipairs(cmsgpack.unpack(ARGV[5])) do
  local h = host_of(item[1], item[2])
  h.own, h.d, h.c, h.t = true, item[3], item[4], 0
  touch(h)
  local moved = {}
  for at = 1, #h.claims, 21 do
    local kind = sub(h.claims, at + 6, at + 6)
    if (kind == 'D' and tonumber(sub(h.claims, at + 8, at + 20)) > free_from(h, 0)) or (kind == 'P' and h.a < h.c) then
      moved[#moved + 1] = sub(h.claims, at, at + 5)
    end
  end
  read_flows(moved)
  for _, id in ipairs(moved) do
    local _, kind, rank, moment = claim_of(h, id)
    if kind == 'D' then
      unfile(h, flows[id], rank, moment)
    end
    file(h, flows[id], rank, 0)
  end
  replies[i] = 1
end
commit()
return replies
