package centrifugo

import "time"

// SetConnectTime sets how long a client may take to send connect, until the returned func is called.
func SetConnectTime(d time.Duration) (restore func()) {
	was := connectTime
	connectTime = d
	return func() { connectTime = was }
}

// ReadEmulation is readEmulation.
var ReadEmulation = readEmulation
