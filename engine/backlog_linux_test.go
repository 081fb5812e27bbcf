package engine

import "golang.org/x/sys/unix"

// inFlight reports whether the kernel awaits an acknowledgement of bytes that it has sent: then others may follow them.
func inFlight(s socket) bool {
	info, err := unix.GetsockoptTCPInfo(s.fd(), unix.IPPROTO_TCP, unix.TCP_INFO)
	return err == nil && info.Unacked > 0
}
