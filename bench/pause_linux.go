package bench

import (
	"time"

	"golang.org/x/sys/unix"
)

// pause sleeps to within some microseconds. The runtime's timers sleep in whole milliseconds, which is
// more than a local delivery takes.
func pause(d time.Duration) {
	const slack = 1000                                     // ns; the thread may change right after: then it is the default 50 µs
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, slack, 0, 0, 0) // a wish
	ts := unix.NsecToTimespec(int64(d))
	_ = unix.Nanosleep(&ts, nil) // woken early, the caller looks at the clock again
}
