-- Changes who is in a topic, and tells its followers. Returns 1 if somebody came or went, else 0; and 2 for each entry of the lifecycle, 16
-- for each reset among them.
-- KEYS  members, users, version, the boot's entries, boots, fence, and what lifecycle.lua wants
-- ARGV  entries to keep, latest time, a fresh epoch (for lifecycle.lua, the epoch for a version, too),
--       the topic's channel, or '' if nobody is told and nothing counted but members, as of a user's sessions,
--       the member's entry, session, generation, boot, members up to which all is told, milliseconds to keep the version of
--       a topic that nobody is in, '1' if the session enters,
--       user (of one who leaves it is heeded only without a channel), info,
--       topic, why the session leaves, '1' if it enters because the hub misses it here, and it may have been lost, '2' if it is also to be
--       told that somebody is there,
--       '1' if the lifecycle tells of the topic's users
-- members is a hash of sessions: generation (4 bytes), since (8), boot behind its length (2), user behind its length (1), info.
-- users is a hash of users, of numbers of sessions. version is epoch and number, 8 bytes each. entries is a hash of the members
-- that a boot answers for, of their generations; it may hold some that have moved to another boot since. fence are boots that were swept, by time.
local members, users, version, entries, boots, fence = unpack(KEYS)
local channel, entry, session, generation, boot = ARGV[4], ARGV[5], ARGV[6], tonumber(ARGV[7]), ARGV[8]
local hidden, enters, user = channel == '', ARGV[11] == '1', ARGV[12]

-- Without a right nothing is changed.
local may = redis.acl_check_cmd
local needs = may and {
  { 'HSET', entries, entry, '' }, { 'HDEL', entries, entry }, { 'SADD', boots, boot }, { 'HSET', members, session, '' },
  { 'HDEL', members, session }, { 'HLEN', members },
} or {}
if may and not hidden then
  for _, command in ipairs({
    { 'HINCRBY', users, '', 1 }, { 'GET', version }, { 'SET', version, '' }, { '%PUBLISH%', channel, '' },
  }) do needs[#needs + 1] = command end
end
if may and append then
  for _, command in ipairs({ { 'GET', ending }, { 'SET', ending, '' }, { 'XADD', stream, '*', 'event', '' } }) do needs[#needs + 1] = command end
end
for _, command in ipairs(needs) do
  if not may(unpack(command)) then return redis.error_reply('NOPERM this user may not ' .. command[1] .. ' here') end
end

local function find()
  local stored = redis.call('HGET', members, session)
  if not stored then return nil end
  local whole, generation, since, boot, user, info = pcall(struct.unpack, '>I4I8Hc0Bc0', stored)
  if whole then return { generation = generation, since = since, boot = boot, user = user, info = stored:sub(info) } end
  redis.call('HDEL', members, session) -- it is none of a hub's
end

local function sessions(user, more)
  if user == '' or hidden then return nil end
  local n = redis.call('HINCRBY', users, user, more)
  if n <= 0 then redis.call('HDEL', users, user) end
  return n
end

-- flags are 1 for one who left, and 2 for the first or last session of a user.
local function tell(flags, m)
  if hidden then return end
  local clients, all = redis.call('HLEN', members), redis.call('HLEN', users)
  local epoch, number = ARGV[3], 0
  local stored = redis.call('GET', version)
  if stored and #stored == 16 then epoch, number = struct.unpack('>c8I8', stored) end
  local now = struct.pack('>c8I8', epoch, number + 1)
  if clients > 0 then
    redis.call('SET', version, now)
  else
    redis.call('SET', version, now, 'PX', ARGV[10])
    if all > 0 then redis.call('DEL', users) end -- of members that are lost
    all = 0
  end
  local counted = clients > tonumber(ARGV[9])
  local news = '\4' .. now .. struct.pack('>BI4I4', counted and 4 or flags, clients, all)
  if not counted then news = news .. struct.pack('>I8Bc0Bc0', m.since, #session, session, #m.user, m.user) .. m.info end
  redis.call('%PUBLISH%', channel, news)
end

local function done(changed)
  if append then return changed + 2 * written + 16 * resets end
  return changed
end

-- counted is how many sessions a user has here, where the lifecycle is to tell.
local function counted(user)
  if not append or hidden or ARGV[17] ~= '1' or user == '' then return nil end
  return tonumber(redis.call('HGET', users, user)) or 0
end

-- note writes down that a session came or went, and, if it is the first or the last one here, that of its user or its topic. whose is the user
-- who came to the topic or left it, nil if none is to be told.
local function note(kinds, about, edge, whose)
  local list = {}
  if hidden then
    local hub = boot:match('^(.*)/[^/]*$') or boot
    list[1] = '"type":"' .. kinds[1] .. '"' .. member('session', session) .. member('user', user) .. member('hub', hub) .. about
    if edge and user ~= '' then list[2] = '"type":"' .. kinds[2] .. '"' .. member('user', user) end
  elseif edge then
    list[1] = '"type":"' .. kinds[3] .. '"' .. member('topic', ARGV[14])
  end
  if whose then -- inside of the time when the topic is occupied
    table.insert(list, enters and #list + 1 or 1, '"type":"' .. kinds[4] .. '"' .. member('topic', ARGV[14]) .. member('user', whose))
  end
  if #list > 0 then append(unpack(list)) end
end

-- remove takes the session off; replaced says that it enters again at once, as another user's.
local function remove(m, replaced)
  if append then
    local edge, n = not replaced and redis.call('HLEN', members) == 1, counted(m.user)
    note({ 'session_closed', 'user_offline', 'topic_vacated', 'user_left' }, member('cause', ARGV[15]), edge, n and n <= 1 and m.user or nil)
  end
  redis.call('HDEL', members, session)
  local n = sessions(m.user, -1)
  tell(n and n <= 0 and 3 or 1, m)
end

local was = find()
local ours = was and was.boot == boot

-- newer says that generation a is later than b: they count on from 0 behind 2^32-1, which itself is that of who leaves in any case.
local function newer(a, b)
  return a ~= b and b ~= 4294967295 and (b == 0 or a ~= 0 and (a - b) % 4294967296 < 2147483648)
end

-- One who leaves is taken off if this boot answers for it and does not have it in a later generation.
if not enters then
  if ours and newer(was.generation, generation) then return done(0) end
  if ours then remove(was) end -- first: should the lifecycle refuse it nothing is changed
  redis.call('HDEL', entries, entry)
  return done(ours and 1 or 0)
end

-- One who enters is perhaps there, and from now on this boot answers for it, unless another one has a later generation. A boot
-- that was swept is refused: its members were told to have left.
if redis.call('ZSCORE', fence, boot) then return redis.error_reply('FENCED this boot was swept') end
local info, replaced = ARGV[13], was and was.user ~= user
if was and newer(was.generation, generation) then return done(0) end
if replaced then
  remove(was, true)
  was = nil
end
local lately = append and unsettled()
local doubtful = was and lately
if append and (not was or doubtful or ARGV[16] ~= '') then
  local edge = not replaced and redis.call('HLEN', members) == 0 or lately or ARGV[16] == '2' -- those who were there may be untold, and leave so
  local n = counted(user)
  local first = n and (n == 0 or lately or ARGV[16] ~= '')
  note({ 'session_opened', 'user_online', 'topic_occupied', 'user_joined' }, '', edge, first and user or nil)
end
local time = redis.call('TIME')
local now = { since = was and was.since or time[1] * 1000 + math.floor(time[2] / 1000), user = user, info = info }
redis.call('SADD', boots, boot)
redis.call('HSET', entries, entry, generation)
redis.call('HSET', members, session, struct.pack('>I4I8Hc0Bc0', generation, now.since, #boot, boot, #user, user) .. info)
if was then return done(0) end
tell(sessions(user, 1) == 1 and 2 or 0, now)
return done(1)
