-- Has a stream of the lifecycle begin, or say that it begins anew, though nobody comes or goes. See lifecycle.lua.
-- Returns the time in the last ID, and what presence.lua does.
local ms = append()
return { ms, 2 * written + 16 * resets }
