-- Reads a topic's log behind an ID, with what is needed to judge it, in one step.
-- KEYS  epoch, stream, record    ARGV  first ID in XRANGE's notation, entries at most, a fresh epoch
-- Returns epoch, record or '', TIME, entries.
local epoch = redis.call('GET', KEYS[1])
if not epoch then
  epoch = ARGV[3]
  redis.call('SET', KEYS[1], epoch)
end
local entries = {}
if ARGV[2] ~= '0' then
  entries = redis.call('XRANGE', KEYS[2], ARGV[1], '+', 'COUNT', ARGV[2])
end
return { epoch, redis.call('GET', KEYS[3]) or '', redis.call('TIME'), entries }
