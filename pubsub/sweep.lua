-- Fences a boot in a partition, and forgets it there if it has no members. One script does both: between two commands another
-- server may come to serve the partition, with members that the one before had not.
-- KEYS  the fence, the boots, the boot's entries
-- ARGV  the boot, the time in milliseconds, the time up to which other boots are not fenced any more, entries that are wanted
-- Returns some of the entries.
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[3])
local found = redis.call('HRANDFIELD', KEYS[3], ARGV[4])
if #found == 0 then redis.call('SREM', KEYS[2], ARGV[1]) end
return found
