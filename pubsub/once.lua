-- Publishes an event of a topic without history unless its key was used before.
-- KEYS  the key    ARGV  channel, data, milliseconds to keep the key
if redis.call('SET', KEYS[1], '', 'NX', 'PX', ARGV[3]) then
  redis.call('PUBLISH', ARGV[1], ARGV[2])
end
return ''
