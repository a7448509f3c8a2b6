-- Forget jobs for good, leased or queued. Replies with 1 or 0 for each: 0 where the job is not known.
--
-- KEYS, ARGV[1..4]  as in shard.lua
-- ARGV[5]  MessagePack: the ids of the jobs
--
-- Keeps: a job that was leased halves its host's back-off.
-- Cost: O(log n) each. Most jobs that end are leased and not the last of their host, and nobody waits for their place:
-- they are plain. Of their hosts and domains a few numbers change, in records that are not taken apart for it.

local ids, replies = cmsgpack.unpack(ARGV[5]), {}
local records = records_of(ids)

-- The host and the flow of a leased job.
local function of_leased(record)
  local at = 31
  if sub(record, 1, 1) == 'A' then
    at = find(record, '\n', find(record, '\n', at, true) + 1, true) + 1
  end
  return sub(record, at + 32, find(record, '\n', at + 32, true) - 1), sub(record, at, at + 5)
end

local packed = {}
local function read_packed(names)
  local missing = {}
  for _, name in ipairs(names) do
    if packed[name] == nil then
      packed[name] = false
      missing[#missing + 1] = name
    end
  end
  for first = 1, #missing, MOST_ARGUMENTS do
    local last = min(first + MOST_ARGUMENTS - 1, #missing)
    for i, record in ipairs(call('HMGET', PLACES, unpack(missing, first, last))) do
      packed[missing[first + i - 1]] = record
    end
  end
end

local hosts, flow_of_job, names, flow_ids, is_leased = {}, {}, {}, {}, {}
for i, record in ipairs(records) do
  if record then
    local state = sub(record, 1, 1)
    if state == 'L' or state == 'A' then
      is_leased[i] = true
      hosts[i], flow_of_job[i] = of_leased(record)
      flow_ids[#flow_ids + 1] = flow_of_job[i]
    else
      hosts[i] = job_of(record).host
    end
    names[#names + 1] = hosts[i]
  end
end
read_packed(names)

local domain_of_host, leaving = {}, {}
names = {}
for i = 1, #ids do
  local name = hosts[i]
  if name then
    leaving[name] = (leaving[name] or 0) + 1
    local record = packed[name]
    if record and domain_of_host[name] == nil then
      local gap = find(record, ' ', TEXT_FROM, true)
      domain_of_host[name] = gap > TEXT_FROM and sub(record, TEXT_FROM, gap - 1)
      names[#names + 1] = domain_of_host[name] or nil
    end
  end
end
read_packed(names)

-- A place where something else than numbers changes is taken apart, for all jobs of this call that touch it.
local is_plain = {}
for name, record in pairs(packed) do
  is_plain[name] = record and not find(record, 'P', TEXT_FROM, true) or false
end
for i = 1, #ids do
  local name = hosts[i]
  if name then
    local domain = domain_of_host[name]
    if is_plain[name] and is_leased[i] then
      local _, jobs = struct.unpack(COUNTS, packed[name], COUNTS_FROM)
      is_plain[name] = jobs > leaving[name]
    else
      is_plain[name] = false
    end
    if domain and not is_plain[name] then
      is_plain[domain] = false
    end
  end
end

-- A lease of a packed place ends, and with it so many jobs of the place: 1, or 0 for a domain, which has hosts.
local function lease_ends(name, jobs)
  local record = packed[name]
  local a, n, k, b = struct.unpack(COUNTS, record, COUNTS_FROM)
  local counts = struct.pack(COUNTS, max(a - 1, 0), n - jobs, k, max(b - jobs, 0))
  packed[name] = sub(record, 1, COUNTS_FROM - 1) .. counts .. sub(record, COUNTS_TO + 1)
  put(places_w, name, packed[name])
end

read_flows(flow_ids)
local others, other_at = {}, {}
for i, job in ipairs(ids) do
  local name = hosts[i]
  local domain = name and domain_of_host[name]
  if jobs_w.values[job] == false then
    replies[i] = 0
  elseif name and is_plain[name] and (not domain or is_plain[domain]) then
    lease_ends(name, 1)
    if domain then
      lease_ends(domain, 0)
    end
    put(jobs_w, job, false)
    put(leases_w, job, false)
    local f = flow_of(flow_of_job[i])
    f.n = f.n - 1
    touch_flow(f)
    if f.n == 0 then
      note_idle_flow(f)
    end
    replies[i] = 1
  else
    others[#others + 1], other_at[#other_at + 1] = job, i
  end
end
for i, job in ipairs(#others > 0 and forget(others, true) or {}) do
  replies[other_at[i]] = job and 1 or 0
end
commit()
return replies
