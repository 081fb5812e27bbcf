-- Tries whether this user can do what publish.lua and read.lua do, and sends a probe the way that events take.
-- KEYS  a key of the node's own
-- ARGV  milliseconds to keep it, 1 if topics keep a history, the probe's channel, the probe, a topic's key and channel
-- Returns TIME, and the error that keeps the server from storing events, or ''. A replica publishes nothing.
local failure = ''
local stored = redis.pcall('SET', KEYS[1], '', 'PX', ARGV[1])
if stored.err then
  if stored.err:find('READONLY', 1, true) then return redis.error_reply(stored.err) end
  failure = stored.err
end
if ARGV[2] == '1' and redis.acl_check_cmd and failure == '' then
  local key = ARGV[5]
  for _, command in ipairs({
    { 'XADD', key, '*', 'd', '' }, { 'XTRIM', key, 'MINID', '0' }, { 'PEXPIRE', key, '1' }, { 'SET', key, '' },
    { 'XRANGE', key, '-', '+' }, { 'XREVRANGE', key, '+', '-' }, { 'GET', key }, { 'MGET', key }, { 'TIME' },
    { '%PUBLISH%', ARGV[6], '' },
  }) do
    if not redis.acl_check_cmd(unpack(command)) then
      failure = 'NOPERM this user may not ' .. command[1] .. ' the hub\'s keys and channels'
      break
    end
  end
end
redis.call('%PUBLISH%', ARGV[3], ARGV[4])
local time = redis.pcall('TIME')
return { time.err and {} or time, failure }
