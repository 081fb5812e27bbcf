-- Reads the first page of a topic's log behind an ID, with what is needed to judge it, in one step. It copies
-- about the page, however long the log is.
-- KEYS  partition, stream, record
-- ARGV  the ID, entries at most, bytes of data at most or 0 for no bound, a fresh epoch, the ID's epoch or '' for any,
--       '1' if no entries are read where the log is of another one. Else they are read from the ID's millisecond on: IDs
--       of two epochs only tell the time, and the first of each millisecond is the same in both
-- Returns partition, record or '', TIME, entries, the log's newest ID or '' if none lies behind the ID, the ID of
--         the last entry looked at or '', the number of entries that no hub wrote.
local stored = partition(ARGV[4])
local record = redis.call('GET', KEYS[3]) or ''

local room, bytes = tonumber(ARGV[2]), tonumber(ARGV[3])
local entries, foreign, held, largest, read, newest = {}, 0, 0, 1, '', ''
local behind = ARGV[1]
if ARGV[5] ~= '' and ARGV[5] ~= stored:sub(1, 8) then
  behind = behind:match('^%d+') .. '-0'
  if ARGV[6] == '1' then room = 0 end
end
local step = bytes > 0 and 2 or room
local more = room > 0
while more do
  step = math.min(step, room - #entries)
  local list = redis.call('XRANGE', KEYS[2], '(' .. behind, '+', 'COUNT', step)
  for _, entry in ipairs(list) do
    local fields = entry[2]
    behind = entry[1]
    if fields[1] ~= 'b' or #fields[2] ~= 32 or fields[3] ~= 'd' then
      foreign = foreign + 1
    elseif #entries > 0 and bytes > 0 and held + #fields[4] > bytes then
      more = false
      break
    else
      held, largest = held + #fields[4], math.max(largest, #fields[4])
      entries[#entries + 1] = entry
    end
    read = behind
  end
  if more and #list < step then -- the end of the log
    newest, more = read, false
  elseif #entries == room then
    more = false
  end
  -- As many as should fit, and few: the next ones may be much longer.
  step = math.max(1, math.min(2 * step, 16, math.floor((bytes - held) / largest)))
end
if #entries > 0 and newest == '' then
  if #record == 32 and string.format('%.0f-%.0f', struct.unpack('>I8I8', record)) == read then
    newest = read
  else
    newest = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1][1]
  end
end
return { stored, record, redis.call('TIME'), entries, newest, read, foreign }
