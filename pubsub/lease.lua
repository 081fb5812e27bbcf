-- Says that a node lives, and in which state, and forgets those that have been silent for long, and those that would live for
-- longer than any node says: the server's clock was ahead when they said so, and nothing tells whether they still live.
-- KEYS  the set of nodes    ARGV  the node, milliseconds that it lives from now on, milliseconds to remember the dead, its state
-- A score is the millisecond until which a node lives, and its state in eighths of one.
-- Returns 1 if the node was not there.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[1], now + ARGV[2] + 1, '+inf')
return redis.call('ZADD', KEYS[1], now + ARGV[2] + ARGV[4] / 8, ARGV[1])
