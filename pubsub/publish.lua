-- Appends an event to its topic's log and publishes it, in one step.
-- KEYS  epoch, stream, record, and where the publication has a key its result's
-- ARGV  channel, data, events to keep, milliseconds to keep them, milliseconds to keep the record,
--       a fresh epoch, milliseconds to keep the result
-- Returns epoch, milliseconds and sequence, 8 bytes each.
if KEYS[4] then
  local result = redis.call('GET', KEYS[4])
  if result then return result end
end

local epoch = redis.call('GET', KEYS[1])
if not epoch then
  epoch = ARGV[6]
  redis.call('SET', KEYS[1], epoch)
end

-- An ID is never less than the last: not when the clock steps back, nor when the stream expired.
local last, oldms, oldseq, number = (redis.call('GET', KEYS[3]) or '0-0 0'):match('^((%d+)-(%d+)) (%d+)$')
oldms, oldseq, number = tonumber(oldms), tonumber(oldseq), tonumber(number) + 1
local now = redis.call('TIME')
local ms, seq = now[1] * 1000 + math.floor(now[2] / 1000), 1
if oldms >= ms then ms, seq = oldms, oldseq + 1 end
local id = string.format('%.0f-%.0f', ms, seq)

redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[3], id, 'b', last, 'n', number, 'd', ARGV[2])
redis.call('XTRIM', KEYS[2], 'MINID', '~', string.format('%.0f', ms - ARGV[4]))
redis.call('PEXPIRE', KEYS[2], ARGV[4])
redis.call('SET', KEYS[3], string.format('%s %.0f', id, number), 'PX', ARGV[5])
local result = epoch .. struct.pack('>I8I8', ms, seq)
if KEYS[4] then redis.call('SET', KEYS[4], result, 'PX', ARGV[7]) end
redis.call('PUBLISH', ARGV[1], '\1' .. result .. struct.pack('>I8I8I8', oldms, oldseq, number) .. ARGV[2])
return result
