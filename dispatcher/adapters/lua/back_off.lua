-- No visit to hosts that are too busy, for a while. Replies with the moment (ms) for each until when.
--
-- KEYS, ARGV[1..4]  as in shard.lua
-- ARGV[5]  MessagePack: {host, domain, now_ms, at_least_ms, visited_ms} for each
--
-- Keeps: the moment never moves earlier. The wait doubles from one back-off to the next; it begins anew where it would
-- be over, had it followed the one before at once. A visit that began before the end of the latest back-off began
-- before the whole of it, as none begins meanwhile: it says nothing new, and doubles nothing. While the back-off lasts
-- it lengthens it to at_least at most; later, while the wait is remembered, it is as good as the same back-off again.
-- Cost: O(log n) each.

local replies = {}
for i, item in ipairs(cmsgpack.unpack(ARGV[5])) do
  local h, now = host_of(item[1], item[2]), item[3]
  local wait = next_wait(h)
  if now < h.u then
    h.u = max(h.u, now + item[4])
  elseif item[5] < h.u and h.b > 0 and now < h.u + wait then
    h.u = now + max(BACK_OFF_FIRST * 2 ^ (h.b - 1), item[4])
  else
    if h.b > 0 and now >= h.u + wait then
      h.b, wait = 0, BACK_OFF_FIRST
    end
    if wait < BACK_OFF_MOST then
      h.b = h.b + 1
    end
    h.u = now + max(wait, item[4])
  end
  h.w = max(h.w, h.u)
  touch(h)
  note_idle(h)
  replies[i] = h.w
end
commit()
return replies
