-- The beginning of the scripts that read and write logs. KEYS[1] is what is stored of their partition:
--   1 to 8     its epoch
--   9 to 16    its generation: how often it was seen to have come to another server
--   17 to 24   its floor: no ID after that is of an earlier millisecond
--   25 to end  the servers that it was on, the newest first, 16 bytes each, 8 at most
-- The hub puts the name of the server that it sends this to in here, and PUBLISH or SPUBLISH; see script.go.
local server = '%SERVER%'
local function partition(fresh)
  local stored = redis.call('GET', KEYS[1])
  if not stored then
    stored = struct.pack('>c8I8I8', fresh, 0, 0) .. server
    redis.call('SET', KEYS[1], stored)
  end
  return stored
end
