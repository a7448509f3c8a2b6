-- No visit to hosts that are too busy, for a while. Replies with the moment (ms) for each until when.
--
-- KEYS, ARGV[1..4]  as in shard.lua
-- ARGV[5]  MessagePack: {host, domain, now_ms, at_least_ms} for each
--
-- Keeps: the moment never moves earlier. The wait doubles with each call; it begins anew where it would be over, had
-- it followed the one before at once.
-- Cost: O(log n) each.

local replies = {}
for i, item in ipairs(cmsgpack.unpack(ARGV[5])) do
  local h, now = host_of(item[1], item[2]), item[3]
  local wait = next_wait(h)
  if h.b > 0 and now >= h.u + wait then
    h.b, wait = 0, BACK_OFF_FIRST
  end
  if wait < BACK_OFF_MOST then
    h.b = h.b + 1
  end
  h.u = now + max(wait, item[4])
  h.w = max(h.w, h.u)
  touch(h)
  note_idle(h)
  replies[i] = h.w
end
commit()
return replies
