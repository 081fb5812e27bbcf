-- Writes revocations back that the list has lost, and tells all nodes of those that were missing.
-- KEYS  the list    ARGV  the nodes' channel, what such a message begins with, then a score and a member each
for i = 3, #ARGV, 2 do
  if redis.call('ZADD', KEYS[1], 'NX', ARGV[i], ARGV[i + 1]) == 1 then
    redis.call('PUBLISH', ARGV[1], ARGV[2] .. ARGV[i + 1])
  end
end
return ''
