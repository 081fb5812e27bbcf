-- The lease and the position of a reader of one lifecycle stream, see deliver.go.
-- KEYS  the reader's hash for the stream
-- ARGV  take, keep or give; the holder, milliseconds that its lease lives, milliseconds that the hash outlives its last write,
--       the largest fence that the holder knows (take) or its own; and for keep and give the position, its seq, and the last ID
--       of the batch that is under way, or ''
-- The hash: holder, until (milliseconds of Redis' clock), fence, position, seq, upto (the last ID of the batch under way), since
-- (when that batch was handed out first).
-- Returns the fence, 0 where another one has the lease; and position, seq, upto, since, and the time in milliseconds.
local what, me, life, memory, known = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], tonumber(ARGV[5])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function held(field) return redis.call('HGET', KEYS[1], field) or '' end
local holder, ends, fence = held('holder'), tonumber(held('until')) or 0, tonumber(held('fence')) or 0
local position, seq, upto, since = held('position'), held('seq'), held('upto'), held('since')

if what == 'take' then
  -- A lease that ends later than any begins was written when the clock was ahead: it counts for nothing.
  if holder ~= me and ends > now and ends <= now + life then return { 0, position, seq, upto, since, now } end
  -- A fence is never less than the time, so it goes up over lost data, too.
  fence = math.max(fence + 1, known + 1, now)
elseif holder ~= me or fence ~= known then
  return { 0, position, seq, upto, since, now }
else
  since = ARGV[8] == '' and '0' or ARGV[8] == upto and since or string.format('%.0f', now)
  position, seq, upto = ARGV[6], ARGV[7], ARGV[8]
end
redis.call('HSET', KEYS[1], 'holder', me, 'until', string.format('%.0f', what == 'give' and 0 or now + life),
  'fence', string.format('%.0f', fence), 'position', position, 'seq', seq, 'upto', upto, 'since', since)
redis.call('PEXPIRE', KEYS[1], memory)
return { fence, position, seq, upto, since, now }
