-- Removes the events of a topic's log, and tells all followers up to which. The record stays, and with it the topic's
-- position and number.
-- KEYS  partition, stream, record    ARGV  the topic's channel, what such a message begins with
local record = redis.call('GET', KEYS[3])
if not record then return '' end
if #record ~= 32 then return redis.error_reply('ERR the record is not a hub\'s') end
redis.call('XTRIM', KEYS[2], 'MAXLEN', 0)
redis.call('%PUBLISH%', ARGV[1], ARGV[2] .. record:sub(1, 16))
return record:sub(1, 16)
