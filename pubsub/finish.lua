-- Marks the list of revocations as whole, unless it was lost since a node began to look through it.
-- KEYS  the list    ARGV  what the node left there when it began, the mark, its score if there is none
-- Returns the mark's score, or '' if the list was lost.
if redis.call('ZREM', KEYS[1], ARGV[1]) == 0 then return '' end
redis.call('ZADD', KEYS[1], 'NX', ARGV[3], ARGV[2])
return redis.call('ZSCORE', KEYS[1], ARGV[2])
