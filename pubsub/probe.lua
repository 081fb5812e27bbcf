-- Tries whether the server takes writes and this user may do what the hub does, and sends a probe the way that events take.
-- KEYS  a key of the node's own
-- ARGV  milliseconds to keep it, the commands that must be allowed as JSON, the probe's channel, the probe
-- Returns TIME, and the error that keeps the server from storing events, or ''. A replica publishes nothing.
local failure = ''
local stored = redis.pcall('SET', KEYS[1], '', 'PX', ARGV[1])
if stored.err then
  if stored.err:find('READONLY', 1, true) then return redis.error_reply(stored.err) end
  failure = stored.err
end
if redis.acl_check_cmd then
  for _, command in ipairs(cjson.decode(ARGV[2])) do
    if not redis.acl_check_cmd(unpack(command)) then
      failure = 'NOPERM the user may not ' .. command[1]
      break
    end
  end
end
redis.call('%PUBLISH%', ARGV[3], ARGV[4])
local time = redis.pcall('TIME')
return { time.err and {} or time, failure }
