-- The beginning of presence.lua, where there is a lifecycle, and of touch.lua: it appends entries to a stream, in the step of the change that they tell.
-- The hub puts the name of the server that it sends this to in here; see script.go.
-- KEYS  the last two: the stream, and where it ends: the last entry's ID (milliseconds, sequence) and number, 8 bytes each, the server
--       that it was written on (16), its epoch and the one before, and when that ended (8)
-- ARGV  the first three: entries to keep, the latest time in an ID that the hub knows of, a fresh epoch
local server, leap, trusted = '%SERVER%', 60000, 3600000
local stream, ending = KEYS[#KEYS - 1], KEYS[#KEYS]
local none = ('\0'):rep(8)
local written, resets = 0, 0

-- ended is where the stream ends. Its entries from the next number on never were, for all that this server knows, if it is begun or was
-- written on another one last, which may have had more. Then a reset says so, which begins an epoch. Its ID leaps ahead of all that were given.
local function ended(now, micros)
  local stored, fresh = redis.call('GET', ending), ARGV[3]
  local latest = tonumber(ARGV[2]) <= now + trusted and tonumber(ARGV[2]) or 0
  if not stored or #stored ~= 64 then
    local last = redis.pcall('XREVRANGE', stream, '+', '-', 'COUNT', 1)
    local id = last[1] and last[1][1] or '0-0'
    -- Others may know of a later one. So a stream begins a leap ahead of the clock, and with the microseconds: it is ahead of all that did so.
    local ms, seq = math.max(latest, tonumber(id:match('^%d+'))), 0
    if ms <= now + leap then ms, seq = now + leap, micros * 1048576 else ms = ms + leap end
    return { ms = ms, seq = seq, number = 0, server = server, epoch = fresh, before = none, since = 0, reset = true }
  end
  local e = {}
  e.ms, e.seq, e.number, e.server, e.epoch, e.before, e.since = struct.unpack('>I8I8I8c16c8c8I8', stored)
  if server == '' or server == e.server then return e end
  local ms = math.max(now, latest, e.ms) + leap
  return { ms = ms, seq = 0, number = e.number, server = server, epoch = fresh, before = e.epoch, since = now, reset = true }
end

local function member(name, value) return value ~= '' and ',"' .. name .. '":' .. cjson.encode(value) or '' end

local function hex(epoch)
  return epoch == none and '' or (epoch:gsub('.', function(c) return string.format('%02x', c:byte()) end))
end

local function clock()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000), time[2] % 1000
end

-- unsettled says that another server has come to write the stream lately: members that are known may have been told to have gone by entries
-- that are lost, or not be told anew yet.
local function unsettled()
  local now, micros = clock()
  return now < ended(now, micros).since + leap
end

-- append appends entries, each a JSON object's members but for its number and time; and before them a reset where one is due.
local function append(...)
  local list, now, micros = { ... }, clock()
  local e = ended(now, micros)
  if e.reset then
    table.insert(list, 1, '"type":"reset"' .. member('epoch', hex(e.epoch)) .. member('before', hex(e.before)))
    resets = resets + 1
  end
  if now > e.ms then e.ms, e.seq = now, 0 end
  if #list > 0 then -- before the entries: should one fail, no ID and no number is given twice
    local on = e.server .. ('\0'):rep(16 - #e.server)
    redis.call('SET', ending, struct.pack('>I8I8I8', e.ms, e.seq + #list, e.number + #list) .. on .. e.epoch .. e.before .. struct.pack('>I8', e.since))
  end
  for i, entry in ipairs(list) do
    redis.call('XADD', stream, 'MAXLEN', '~', ARGV[1], string.format('%.0f-%.0f', e.ms, e.seq + i), 'event',
      string.format('{"seq":%.0f,%s,"time":%.0f}', e.number + i, entry, now))
    written = written + 1
  end
  return e
end
