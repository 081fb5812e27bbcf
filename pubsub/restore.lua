-- Writes revocations back that the list has lost. Returns those that were missing.
-- KEYS  the list    ARGV  a score and a member each
local missing = {}
for i = 1, #ARGV, 2 do
  if redis.call('ZADD', KEYS[1], 'NX', ARGV[i], ARGV[i + 1]) == 1 then missing[#missing + 1] = ARGV[i + 1] end
end
return missing
