package baseline

import (
	"bytes"
	"context"
	"crypto/sha1" // the handshake's own hash (RFC 6455, 4.2.2)
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net"
	"runtime"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// floor is one thread, one epoll and no more than that: requests are taken to be whole and well-formed,
// what clients send is thrown away, and one that does not take a write at once is dropped.
type floor struct {
	cfg      Config
	ep       int
	listener int
	redis    *net.TCPConn
	redisFD  int
	timer    int

	peers   []*peer // by fd; nil: none
	topics  map[string][]*peer
	buf     []byte
	pending []byte // of Redis: a reply that has not come whole
	pingAt  int    // the next fd to ping
}

type peer struct {
	fd     int32
	topics []string
}

// beats is into how many parts a heartbeat period is divided, so that pings do not come all at once.
const beats = 250

var ping = []byte{0x89, 0}

// Floor serves until ctx ends.
func Floor(ctx context.Context, cfg Config) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	f := &floor{cfg: cfg, topics: map[string][]*peer{}, buf: make([]byte, 256<<10)}
	defer f.close()
	if err := f.open(ctx); err != nil {
		return err
	}
	events := make([]unix.EpollEvent, 256)
	for ctx.Err() == nil {
		n, err := unix.EpollWait(f.ep, events, 200) // and look at ctx
		if err != nil && err != unix.EINTR {
			return fmt.Errorf("epoll: %w", err)
		}
		for _, e := range events[:max(n, 0)] {
			if err := f.handle(int(e.Fd)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *floor) open(ctx context.Context) (err error) {
	if f.ep, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	if err := f.listen(); err != nil {
		return fmt.Errorf("listen on %s: %w", f.cfg.Addr, err)
	}
	if err := f.subscribe(ctx); err != nil {
		return fmt.Errorf("redis at %s: %w", f.cfg.Redis.Addr, err)
	}
	if f.timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC); err != nil {
		return fmt.Errorf("timer: %w", err)
	}
	beat := unix.NsecToTimespec(int64(f.cfg.Heartbeat / beats))
	if err := unix.TimerfdSettime(f.timer, 0, &unix.ItimerSpec{Interval: beat, Value: beat}, nil); err != nil {
		return fmt.Errorf("timer: %w", err)
	}
	return f.add(f.timer)
}

func (f *floor) add(fd int) error {
	return unix.EpollCtl(f.ep, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
}

func (f *floor) listen() (err error) {
	f.listener, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := unix.SetsockoptInt(f.listener, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return err
	}
	if err := unix.Bind(f.listener, &unix.SockaddrInet4{Addr: f.cfg.Addr.Addr().As4(), Port: int(f.cfg.Addr.Port())}); err != nil {
		return err
	}
	if err := unix.Listen(f.listener, unix.SOMAXCONN); err != nil {
		return err
	}
	return f.add(f.listener)
}

func (f *floor) subscribe(ctx context.Context) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", f.cfg.Redis.Addr)
	if err != nil {
		return err
	}
	f.redis = conn.(*net.TCPConn)
	auth := ""
	if f.cfg.Redis.Password != "" {
		auth = "AUTH " + f.cfg.Redis.Password + "\r\n"
	}
	if _, err := fmt.Fprintf(conn, "%sSUBSCRIBE %s %s\r\nPSUBSCRIBE %s*\r\n", auth, f.cfg.Broadcast, userChannel, topicChannel); err != nil {
		return err
	}
	raw, err := f.redis.SyscallConn()
	if err != nil {
		return err
	}
	if err := raw.Control(func(fd uintptr) { f.redisFD = int(fd) }); err != nil {
		return err
	}
	return f.add(f.redisFD)
}

func (f *floor) close() {
	for _, p := range f.peers {
		if p != nil {
			_ = unix.Close(int(p.fd))
		}
	}
	for _, fd := range []int{f.timer, f.listener, f.ep} {
		if fd > 0 {
			_ = unix.Close(fd)
		}
	}
	if f.redis != nil {
		_ = f.redis.Close() // only read
	}
}

func (f *floor) handle(fd int) error {
	switch fd {
	case f.listener:
		f.accept()
	case f.redisFD:
		return f.readRedis()
	case f.timer:
		_, _ = unix.Read(fd, f.buf[:8])
		f.beat()
	default:
		if p := f.peers[fd]; p != nil {
			f.readPeer(p)
		}
	}
	return nil
}

func (f *floor) accept() {
	for range 64 {
		fd, _, err := unix.Accept4(f.listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		if err != nil {
			return
		}
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		if fd >= len(f.peers) {
			f.peers = append(f.peers, make([]*peer, fd+1-len(f.peers)+1024)...)
		}
		f.peers[fd] = &peer{fd: int32(fd)}
		if f.add(fd) != nil {
			f.drop(f.peers[fd])
		}
	}
}

func (f *floor) readPeer(p *peer) {
	n, err := unix.Read(int(p.fd), f.buf)
	switch {
	case err == unix.EAGAIN:
	case err != nil || n == 0 || p.topics != nil && f.buf[0]&15 == 8:
		f.drop(p)
	case p.topics == nil:
		f.upgrade(p, string(f.buf[:n]))
	}
}

func (f *floor) upgrade(p *peer, request string) {
	const name = "sec-websocket-key:"
	at := strings.Index(strings.ToLower(request), name)
	if at < 0 {
		f.drop(p)
		return
	}
	key, _, _ := strings.Cut(request[at+len(name):], "\r\n")
	key = strings.TrimSpace(key)
	_, uri, _ := strings.Cut(request, " ")
	uri, _, _ = strings.Cut(uri, " ")
	_, query, _ := strings.Cut(uri, "?")
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	answer := "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " +
		base64.StdEncoding.EncodeToString(sum[:]) + "\r\n\r\n"
	p.topics = f.cfg.topicsOf(query)
	for _, topic := range p.topics {
		f.topics[topic] = append(f.topics[topic], p)
	}
	f.write(p, []byte(answer))
}

func (f *floor) write(p *peer, b []byte) {
	// Raw: the Go scheduler would add to what no server can avoid.
	n, _, errno := unix.RawSyscall(unix.SYS_WRITE, uintptr(p.fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	if errno != 0 || int(n) < len(b) {
		_ = unix.Shutdown(int(p.fd), unix.SHUT_RDWR) // readPeer drops it: lists may be in use here
	}
}

func (f *floor) drop(p *peer) {
	for _, topic := range p.topics {
		list := f.topics[topic]
		if i := slices.Index(list, p); i >= 0 {
			list[i] = list[len(list)-1]
			f.topics[topic] = list[:len(list)-1]
		}
	}
	_ = unix.Close(int(p.fd))
	f.peers[p.fd] = nil
}

// beat pings the next part of the peers.
func (f *floor) beat() {
	for range len(f.peers)/beats + 1 {
		if f.pingAt++; f.pingAt >= len(f.peers) {
			f.pingAt = 0
		}
		if f.pingAt < len(f.peers) && f.peers[f.pingAt] != nil && f.peers[f.pingAt].topics != nil {
			f.write(f.peers[f.pingAt], ping)
		}
	}
}

func (f *floor) readRedis() error {
	n, err := unix.Read(f.redisFD, f.buf)
	if err == unix.EAGAIN {
		return nil
	}
	if err != nil || n == 0 {
		return fmt.Errorf("redis went away: %w", errOr(err, net.ErrClosed))
	}
	f.pending = append(f.pending, f.buf[:n]...)
	rest := f.pending
	for {
		words, size := reply(rest)
		if size == 0 {
			break
		}
		rest = rest[size:]
		if n := len(words); n >= 3 && (words[0] == "message" || words[0] == "pmessage") {
			f.deliver(f.cfg.addressed(words[n-2], words[n-1]))
		}
	}
	f.pending = append(f.pending[:0], rest...)
	return nil
}

func errOr(err, other error) error {
	if err != nil {
		return err
	}
	return other
}

// deliver writes event, as one frame, to each follower: one system call each.
func (f *floor) deliver(topic, event string) {
	frame := []byte{0x81, byte(len(event))}
	if len(event) > 125 {
		frame = binary.BigEndian.AppendUint16([]byte{0x81, 126}, uint16(len(event)))
	}
	frame = append(frame, event...)
	for _, p := range f.topics[topic] {
		f.write(p, frame)
	}
}

// reply reads the array that b, output of Redis, begins with, and returns its size: 0 when b holds a part
// of it. Anything but an array of strings is skipped, line by line.
func reply(b []byte) ([]string, int) {
	head, at := redisLine(b, 0)
	if at == 0 || len(head) == 0 || head[0] != '*' {
		return nil, at
	}
	var words []string
	for range number(head) {
		line, next := redisLine(b, at)
		if next == 0 {
			return nil, 0
		}
		at = next
		if len(line) == 0 || line[0] != '$' {
			words = append(words, string(line))
			continue
		}
		end := at + number(line)
		if end+2 > len(b) {
			return nil, 0
		}
		words = append(words, string(b[at:end]))
		at = end + 2
	}
	return words, at
}

// redisLine returns the line at b[at:] and where the next begins, 0 if it has not come whole.
func redisLine(b []byte, at int) ([]byte, int) {
	i := bytes.Index(b[at:], []byte("\r\n"))
	if i < 0 {
		return nil, 0
	}
	return b[at : at+i], at + i + 2
}

// number reads what follows the first byte of a line; 0 for what Redis never sends.
func number(line []byte) int {
	const most = 512 << 20 // the longest string of Redis
	n := 0
	for _, c := range line[1:] {
		if c < '0' || c > '9' || n > most {
			return 0
		}
		n = n*10 + int(c-'0')
	}
	return n
}
