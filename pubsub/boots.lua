-- Renews the lease of a boot, and perhaps claims one whose members are to be swept.
-- KEYS  the leases
-- ARGV  the boot, milliseconds that it lives from now on, milliseconds that a claim holds, '1' if it may claim one, which takes
--       that its own lease has not run out, the boot that it has claimed, if it is not done with it
-- A score is the millisecond until which a boot lives or, negative, until which it is claimed.
-- Returns the time in milliseconds, the boot's lease before ('' if it had none; where it was claimed it is not renewed), and the
-- boot that was claimed now or ''.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local mine = redis.call('ZSCORE', KEYS[1], ARGV[1])
local claimed = ''
if mine and tonumber(mine) < 0 then return { now, mine, claimed } end
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
if ARGV[5] ~= '' then
  redis.call('ZADD', KEYS[1], 'XX', -now - ARGV[3], ARGV[5])
elseif ARGV[4] == '1' and mine and tonumber(mine) >= now then
  -- A lease, or a claim, that ends later than any begins was written when the clock was ahead. It ends with those that begin now,
  -- unless it is renewed.
  local lease, claim = now + ARGV[2], -now - ARGV[3]
  for _, boot in ipairs(redis.call('ZRANGE', KEYS[1], '(' .. string.format('%.0f', lease), '+inf', 'BYSCORE', 'LIMIT', 0, 100)) do
    redis.call('ZADD', KEYS[1], lease, boot)
  end
  for _, boot in ipairs(redis.call('ZRANGE', KEYS[1], '-inf', '(' .. string.format('%.0f', claim), 'BYSCORE', 'LIMIT', 0, 100)) do
    redis.call('ZADD', KEYS[1], claim, boot)
  end
  claimed = redis.call('ZRANGE', KEYS[1], -now, now, 'BYSCORE', 'LIMIT', 0, 1)[1] or ''
  if claimed ~= '' then redis.call('ZADD', KEYS[1], -now - ARGV[3], claimed) end
end
return { now, mine or '', claimed }
