-- Appends an event to its topic's log and publishes it, in one step.
-- KEYS  partition, stream, record, and where the publication has a key its result's
-- ARGV  channel, body, events to keep, milliseconds to keep them, milliseconds to keep the record,
--       a fresh epoch, milliseconds to keep the result, the latest time that the hub knows of
-- Returns epoch, milliseconds and sequence, 8 bytes each.
--
-- A record is its topic's last event: milliseconds, sequence, number, and the partition's generation when it was
-- written, 8 bytes each. An entry has the record before it as b, and its body, data and perhaps attributes, as d.
local leap, trusted, lastseq = 60000, 3600000, 4095

if KEYS[4] then
  local result = redis.call('GET', KEYS[4])
  if result then
    redis.call('PEXPIRE', KEYS[4], ARGV[7]) -- WAIT may look at what this connection wrote only (Redis 7.2)
    return result
  end
end

local stored = partition(ARGV[6])
local epoch, generation, floor = struct.unpack('>c8I8I8', stored)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- Another server may lack the last events of the one before, and be behind its clock. Its IDs leap ahead of
-- all that were given there.
if server ~= '' and not stored:find(server, 25, true) then
  local hub = tonumber(ARGV[8])
  generation, floor = generation + 1, math.max(now, floor, hub <= now + trusted and hub or 0) + leap
  redis.call('SET', KEYS[1], struct.pack('>c8I8I8', epoch, generation, floor) .. server .. stored:sub(25, 24 + 7 * 16))
end

-- An ID is never less than the last: not when the clock steps back, nor when the stream expired.
local last = redis.call('GET', KEYS[3]) or struct.pack('>I8I8I8I8', 0, 0, 0, generation)
if #last ~= 32 then return redis.error_reply('ERR the record is not a hub\'s') end
local oldms, oldseq, number, before = struct.unpack('>I8I8I8I8', last)
local ms, seq = math.max(now, floor), 1
if before ~= generation then ms = math.max(ms, oldms + leap) end
if ms <= oldms then
  ms, seq = oldms, oldseq + 1
  if seq > lastseq then ms, seq = oldms + 1, 1 end
end
number = number + 1

-- Without a right nothing is stored: XADD fails by itself, and without XTRIM events are only kept for longer.
local may = redis.acl_check_cmd
if may then
  local missing = not may('PEXPIRE', KEYS[2], '1') and 'PEXPIRE' or not may('SET', KEYS[3], '') and 'SET'
    or not may('%PUBLISH%', ARGV[1], '') and '%PUBLISH%'
  if missing then return redis.error_reply('NOPERM this user may not ' .. missing .. ' here') end
end
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[3], string.format('%.0f-%.0f', ms, seq), 'b', last, 'd', ARGV[2])

-- From here on the event is stored, so no error may say that it was refused.
local record = struct.pack('>I8I8I8I8', ms, seq, number, generation)
local result = epoch .. record:sub(1, 16)
local expires = redis.pcall('PEXPIRE', KEYS[2], ARGV[4])
local noted = redis.pcall('SET', KEYS[3], record, 'PX', ARGV[5] + ms - now)
local published = redis.pcall('%PUBLISH%', ARGV[1], '\1' .. epoch .. record:sub(1, 24) .. last:sub(1, 16) .. ARGV[2])
-- Redis drops entries in pieces of up to 100: it is enough to try now and then. Their age is by the clock, though
-- they may have leapt.
if number % 16 == 0 then redis.pcall('XTRIM', KEYS[2], 'MINID', '~', now - ARGV[4]) end
local kept = KEYS[4] and redis.pcall('SET', KEYS[4], result, 'PX', ARGV[7])
local failure = noted.err or type(expires) == 'table' and expires.err or type(published) == 'table' and published.err
  or kept and kept.err
if failure then return redis.error_reply('STORED but ' .. failure) end
return result
