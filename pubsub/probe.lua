-- Tries whether this user can do what publish.lua and read.lua do.
-- KEYS  a key of the node's own    ARGV  milliseconds to keep it, 1 if topics keep a history
if ARGV[2] == '1' and redis.acl_check_cmd then
  local key = 'hub:{p00}:s:probe'
  for _, command in ipairs({
    { 'XADD', key, '*', 'd', '' }, { 'XTRIM', key, 'MINID', '0' }, { 'PEXPIRE', key, '1' }, { 'SET', key, '' },
    { 'XRANGE', key, '-', '+' }, { 'XREVRANGE', key, '+', '-' }, { 'GET', key }, { 'MGET', key }, { 'TIME' },
    { 'PUBLISH', 'hub:t:probe', '' },
  }) do
    if not redis.acl_check_cmd(unpack(command)) then
      return redis.error_reply('NOPERM this user may not ' .. command[1] .. ' keys and channels that begin with hub:')
    end
  end
end
return redis.call('SET', KEYS[1], '', 'PX', ARGV[1])
