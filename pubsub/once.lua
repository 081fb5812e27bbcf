-- Publishes an event of a topic without history unless its key was used before.
-- KEYS  the key    ARGV  channel, body, milliseconds to keep the key
if redis.acl_check_cmd and not redis.acl_check_cmd('%PUBLISH%', ARGV[1], '') then -- else its key would be taken
  return redis.error_reply('NOPERM this user may not %PUBLISH% here')
end
if redis.call('SET', KEYS[1], '', 'NX', 'PX', ARGV[3]) then
  redis.call('%PUBLISH%', ARGV[1], ARGV[2])
end
return ''
