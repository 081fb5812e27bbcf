package pubsub

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// feed is the connection that messages are heard on, in RESP2. A client library keeps the name of every channel
// besides, subscribes to all of them at once when it reconnects, and copies each message: this knows only what
// passes. One goroutine may call hear, any may send.
type feed struct {
	conn  net.Conn
	limit int // of a payload, in bytes
	in    *bufio.Reader

	mu  sync.Mutex
	out []byte
}

const (
	feedBuffer = 64 << 10
	// maxChannel bounds a channel's name. None of ours is longer than prefix and topic; others are dropped.
	maxChannel = 1024
)

func newFeed(conn net.Conn, limit int) *feed {
	return &feed{conn: conn, limit: limit, in: bufio.NewReaderSize(conn, feedBuffer)}
}

// signal is the kind of what a feed hears.
type signal uint8

const (
	message      signal = iota
	oversize            // a message whose payload is over the limit and was skipped
	subscribed          // the answer to SUBSCRIBE of channel
	unsubscribed        // the answer to UNSUBSCRIBE of channel
	pong                // the answer to PING, with its payload
)

// heard is one thing that a feed heard. Its payload is the receiver's.
type heard struct {
	signal  signal
	channel string
	payload []byte
}

// errRefused: the server said no.
var errRefused = errors.New("refused by the server")

// errProtocol: what came is no RESP, or not what a subscriber gets.
var errProtocol = errors.New("not what redis sends")

// login says who we are and which database is meant, as far as opt says so.
func (f *feed) login(opt *redis.Options) error {
	var commands [][]string
	switch {
	case opt.Username != "":
		commands = append(commands, []string{"AUTH", opt.Username, opt.Password})
	case opt.Password != "":
		commands = append(commands, []string{"AUTH", opt.Password})
	}
	if opt.DB != 0 {
		commands = append(commands, []string{"SELECT", strconv.Itoa(opt.DB)})
	}
	_ = f.conn.SetReadDeadline(time.Now().Add(ioTimeout))
	for _, command := range commands {
		if err := f.send(command[0], command[1:]...); err != nil {
			return err
		}
		if line, err := f.line(); err != nil {
			return err
		} else if line[0] != '+' {
			return errProtocol
		}
	}
	return f.conn.SetReadDeadline(time.Time{})
}

// send writes one command.
func (f *feed) send(command string, args ...string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.out = appendCommand(f.out[:0], command, args)
	_ = f.conn.SetWriteDeadline(time.Now().Add(ioTimeout))
	_, err := f.conn.Write(f.out)
	if cap(f.out) > feedBuffer {
		f.out = nil
	}
	return err
}

func appendCommand(dst []byte, command string, args []string) []byte {
	dst = append(strconv.AppendInt(append(dst, '*'), int64(1+len(args)), 10), "\r\n"...)
	dst = appendBulk(dst, command)
	for _, arg := range args {
		dst = appendBulk(dst, arg)
	}
	return dst
}

func appendBulk(dst []byte, s string) []byte {
	dst = append(strconv.AppendInt(append(dst, '$'), int64(len(s)), 10), "\r\n"...)
	return append(append(dst, s...), "\r\n"...)
}

// hear waits for the next thing. After an error the feed is of no use.
func (f *feed) hear() (heard, error) {
	parts, err := f.number('*')
	if err != nil {
		return heard{}, err
	}
	kind, err := f.short(16)
	if err != nil {
		return heard{}, err
	}
	h, want := heard{}, 3
	switch string(kind) {
	case "message":
		h.signal = message
	case "subscribe":
		h.signal = subscribed
	case "unsubscribe":
		h.signal = unsubscribed
	case "pong":
		h.signal, want = pong, 2
	default:
		return heard{}, fmt.Errorf("%w: %q", errProtocol, kind)
	}
	if parts != want {
		return heard{}, errProtocol
	}
	if h.signal != pong {
		channel, err := f.short(maxChannel)
		if err != nil {
			return heard{}, err
		}
		h.channel = string(channel)
	}
	switch h.signal {
	case message, pong:
		err = f.payload(&h)
	default:
		_, err = f.number(':')
	}
	return h, err
}

// payload reads what h carries, or skips it if it is too long.
func (f *feed) payload(h *heard) error {
	n, err := f.number('$')
	if err != nil {
		return err
	}
	if n > f.limit {
		h.signal = oversize
		if _, err := io.CopyN(io.Discard, f.in, int64(n)); err != nil {
			return err
		}
		return f.newline()
	}
	h.payload = make([]byte, n)
	if _, err := io.ReadFull(f.in, h.payload); err != nil {
		return err
	}
	return f.newline()
}

// short reads a string of at most limit bytes, which holds until the next reading.
func (f *feed) short(limit int) ([]byte, error) {
	n, err := f.number('$')
	switch {
	case err != nil:
		return nil, err
	case n > limit:
		return nil, errProtocol
	}
	text, err := f.in.Peek(n + 2)
	if err != nil {
		return nil, err
	}
	if text[n] != '\r' || text[n+1] != '\n' {
		return nil, errProtocol
	}
	_, err = f.in.Discard(n + 2)
	return text[:n], err
}

func (f *feed) newline() error {
	for _, want := range []byte("\r\n") {
		switch b, err := f.in.ReadByte(); {
		case err != nil:
			return err
		case b != want:
			return errProtocol
		}
	}
	return nil
}

// number reads a line of mark and a number that is not negative.
func (f *feed) number(mark byte) (int, error) {
	line, err := f.line()
	if err != nil {
		return 0, err
	}
	if line[0] != mark || len(line) == 1 || len(line) > 11 {
		return 0, errProtocol
	}
	n := 0
	for _, digit := range line[1:] {
		if digit < '0' || digit > '9' {
			return 0, errProtocol
		}
		n = 10*n + int(digit-'0')
	}
	return n, nil
}

// line reads a line, which has a byte at least, and holds until the next reading. An error that the server
// answers is an errRefused.
func (f *feed) line() ([]byte, error) {
	line, err := f.in.ReadSlice('\n')
	switch n := len(line); {
	case errors.Is(err, bufio.ErrBufferFull):
		return nil, errProtocol
	case err != nil:
		return nil, err
	case n < 3 || line[n-2] != '\r':
		return nil, errProtocol
	case line[0] == '-':
		return nil, fmt.Errorf("%w: %s", errRefused, clip(string(line[1:n-2])))
	}
	return line[:len(line)-2], nil
}

// dialFeed opens a feed. It ends with ctx at the latest: whatever ends it closes its socket, for a read can't be
// timed out without losing its place in the stream.
func (r *Redis) dialFeed(ctx context.Context) (f *feed, end func(), err error) {
	conn, err := dialWith(r.opt.TLSConfig)(ctx, r.opt.Network, r.opt.Addr)
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	end = func() {
		stop()
		_ = conn.Close()
	}
	f = newFeed(conn, max(r.cfg.MaxMessage, maxControl)+max(addressHead, envelopeHead+maxAttributes))
	if err := f.login(r.opt); err != nil {
		end()
		return nil, nil, err
	}
	return f, end, nil
}
