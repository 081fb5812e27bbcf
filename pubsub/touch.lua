-- Has a stream of the lifecycle begin, or say that it begins anew, though nobody comes or goes. See lifecycle.lua.
-- Returns the time in the last ID, what presence.lua does, the epoch and the one before.
local e = append()
return { e.ms, 2 * written + 16 * resets, e.epoch, e.before }
