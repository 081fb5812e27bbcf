-- Reads who is in a topic. It changes nothing.
-- KEYS  members, users, version    ARGV  cursor, members that are wanted
-- Returns version, number of members, number of users, the next cursor, and pairs of a cursor and the members behind it.
local list, n, cursor, wanted = {}, 0, ARGV[1], tonumber(ARGV[2])
for i = 1, wanted > 0 and 64 or 0 do -- a hash that many have left may have long stretches of nobody
  local found = redis.call('HSCAN', KEYS[1], cursor, 'COUNT', 100)
  list[i] = { cursor, found[2] }
  cursor, n = found[1], n + #found[2] / 2
  if n >= wanted or cursor == '0' then break end
end
return { redis.call('GET', KEYS[3]) or '', redis.call('HLEN', KEYS[1]), redis.call('HLEN', KEYS[2]), cursor, list }
