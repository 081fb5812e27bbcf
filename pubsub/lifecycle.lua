-- The beginning of presence.lua, where there is a lifecycle, and of touch.lua: it appends entries to a stream, in the step of the change that they tell.
-- The hub puts the name of the server that it sends this to in here; see script.go.
-- KEYS  the last two: the stream, and where it ends: the last entry's ID (milliseconds, sequence) and number, 8 bytes each, and the
--       server that it was written on (16 bytes)
-- ARGV  the first two: entries to keep, the latest time in an ID that the hub knows of
local server, leap, trusted = '%SERVER%', 60000, 3600000
local stream, ending = KEYS[#KEYS - 1], KEYS[#KEYS]
local written, resets = 0, 0

-- ended is where the stream ends. Its entries from the next number on never were, for all that this server knows, if it is begun or was
-- written on another one last, which may have had more. Then a reset says so, whose ID leaps ahead of all that were given.
local function ended(now)
  local stored = redis.call('GET', ending)
  local latest = tonumber(ARGV[2]) <= now + trusted and tonumber(ARGV[2]) or 0
  if not stored or #stored ~= 40 then
    local last = redis.pcall('XREVRANGE', stream, '+', '-', 'COUNT', 1)
    local id = last[1] and last[1][1] or '0-0'
    return math.max(now, latest, tonumber(id:match('^%d+')) + 1), 0, 0, server, true
  end
  local ms, seq, number, on = struct.unpack('>I8I8I8c16', stored)
  if server == '' or server == on then return ms, seq, number, on, false end
  return math.max(now, latest, ms) + leap, 0, number, server, true
end

-- append appends entries, each a JSON object's members but for its number and time; and before them a reset where one is due.
local function append(...)
  local list, time = { ... }, redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  local ms, seq, number, on, reset = ended(now)
  if reset then
    table.insert(list, 1, '"type":"reset"')
    resets = resets + 1
  end
  if now > ms then ms, seq = now, 0 end
  if #list > 0 then -- before the entries: should one fail, no ID and no number is given twice
    redis.call('SET', ending, struct.pack('>I8I8I8', ms, seq + #list, number + #list) .. on .. ('\0'):rep(16 - #on))
  end
  for i, entry in ipairs(list) do
    redis.call('XADD', stream, 'MAXLEN', '~', ARGV[1], string.format('%.0f-%.0f', ms, seq + i), 'event',
      string.format('{"seq":%.0f,%s,"time":%.0f}', number + i, entry, now))
    written = written + 1
  end
  return ms
end

local function member(name, value) return value ~= '' and ',"' .. name .. '":' .. cjson.encode(value) or '' end
