package redistest

import (
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"syscall"
)

// farInode is the socket at the other end of conn, on this machine, as proc(5) names it: the kernel is asked for that one socket
// (sock_diag(7)). The table of all of them, proc(5)'s net/tcp, takes tens of milliseconds where there are thousands. It is ""
// if the socket is gone.
func farInode(conn *net.TCPConn) string {
	near, far := conn.LocalAddr().(*net.TCPAddr), conn.RemoteAddr().(*net.TCPAddr)
	if near.IP.To4() == nil || far.IP.To4() == nil {
		return ""
	}
	const (
		sockDiag      = 4           // NETLINK_SOCK_DIAG
		byFamily      = 20          // SOCK_DIAG_BY_FAMILY
		size          = 16 + 8 + 48 // nlmsghdr, and inet_diag_req_v2, which ends with an inet_diag_sockid
		inodeInAnswer = 16 + 4 + 48 + 16
	)
	request := make([]byte, 0, size)
	order := binary.NativeEndian
	request = order.AppendUint32(request, size)
	request = order.AppendUint16(request, byFamily)
	request = order.AppendUint16(request, syscall.NLM_F_REQUEST)
	request = append(request, make([]byte, 8)...)                            // nlmsg_seq, nlmsg_pid
	request = append(request, syscall.AF_INET, syscall.IPPROTO_TCP, 0, 0)    // sdiag_family, sdiag_protocol, idiag_ext, pad
	request = order.AppendUint32(request, 1<<32-1)                           // idiag_states
	request = binary.BigEndian.AppendUint16(request, uint16(far.Port))       // idiag_sport
	request = binary.BigEndian.AppendUint16(request, uint16(near.Port))      // idiag_dport
	request = append(append(request, far.IP.To4()...), make([]byte, 12)...)  // idiag_src
	request = append(append(request, near.IP.To4()...), make([]byte, 12)...) // idiag_dst
	request = order.AppendUint32(request, 0)                                 // idiag_if
	request = append(request, slices.Repeat([]byte{255}, 8)...)              // idiag_cookie: any

	fd, err := syscall.Socket(syscall.AF_NETLINK, syscall.SOCK_RAW|syscall.SOCK_CLOEXEC, sockDiag)
	if err != nil {
		return ""
	}
	defer syscall.Close(fd)
	answer := make([]byte, 4096)
	if syscall.Sendto(fd, request, 0, &syscall.SockaddrNetlink{Family: syscall.AF_NETLINK}) != nil {
		return ""
	}
	n, _, err := syscall.Recvfrom(fd, answer, 0)
	if err != nil || n < inodeInAnswer+4 || order.Uint16(answer[4:]) != byFamily {
		return ""
	}
	return fmt.Sprintf("socket:[%d]", order.Uint32(answer[inodeInAnswer:]))
}
