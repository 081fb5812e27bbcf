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

// feed is the connection that messages are heard on, classic and sharded ones, in RESP2. A client library keeps the name of every channel
// besides, subscribes to all of them at once when it reconnects, and copies each message: this knows only what
// passes. One goroutine may call hear, any may send.
type feed struct {
	conn  net.Conn
	flow  *inflow // below conn, or conn itself
	limit int     // of a payload, in bytes
	in    *bufio.Reader

	mu  sync.Mutex
	out []byte
}

const (
	feedBuffer = 64 << 10
	// maxChannel bounds a channel's name. None of ours is longer than prefix and topic; others are dropped.
	maxChannel = 1024
)

func newFeed(conn net.Conn, flow *inflow, limit int) *feed {
	return &feed{conn: conn, flow: flow, limit: limit, in: bufio.NewReaderSize(conn, feedBuffer)}
}

// signal is the kind of what a feed hears.
type signal uint8

const (
	message      signal = iota
	oversize            // a message whose payload is over the limit and was skipped
	subscribed          // the answer to SUBSCRIBE or SSUBSCRIBE of channel
	unsubscribed        // the answer to UNSUBSCRIBE or SUNSUBSCRIBE of channel, or the end of a shard's subscription
	pong                // the answer to PING, with its payload
	refused             // an error in place of an answer, with its text
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
var errProtocol = errors.New("not an answer of redis")

// command is one of Redis's.
type command struct {
	name string
	args []string
}

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

// role asks what the server is: "master", "slave", or "" with an errRefused.
func (f *feed) role() (string, error) {
	_ = f.conn.SetReadDeadline(time.Now().Add(ioTimeout))
	defer f.conn.SetReadDeadline(time.Time{})
	if err := f.send("ROLE"); err != nil {
		return "", err
	}
	parts, err := f.number('*')
	if err != nil {
		return "", err
	}
	text, err := f.short(maxChannel)
	if err != nil {
		return "", err
	}
	role := string(text)
	for range parts - 1 {
		if err := f.skip(3); err != nil {
			return "", err
		}
	}
	return role, nil
}

// skip reads a reply that is nested no deeper than depth, and forgets it.
func (f *feed) skip(depth int) error {
	line, err := f.line()
	if err != nil {
		return err
	}
	kind := line[0]
	n, numeric := parseCount(line[1:])
	switch {
	case kind == ':' || kind == '+':
		return nil
	case !numeric || depth == 0 || kind != '$' && kind != '*':
		return errProtocol
	case kind == '$':
		if _, err := io.CopyN(io.Discard, f.in, int64(n)); err != nil {
			return err
		}
		return f.newline()
	}
	for range n {
		if err := f.skip(depth - 1); err != nil {
			return err
		}
	}
	return nil
}

// send writes one command.
func (f *feed) send(name string, args ...string) error { return f.sendAll([]command{{name, args}}) }

// sendAll writes commands one behind the other.
func (f *feed) sendAll(commands []command) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.out = f.out[:0]
	for _, c := range commands {
		f.out = appendCommand(f.out, c.name, c.args)
	}
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
	f.flow.gather.heard++
	f.flow.between = f.in.Buffered() == 0
	mark, err := f.in.Peek(1)
	f.flow.between = false // where TLS had it, nothing was read
	switch {
	case err != nil:
		return heard{}, err
	case mark[0] == '-':
		line, err := f.whole()
		if err != nil {
			return heard{}, err
		}
		return heard{signal: refused, payload: []byte(clip(string(line[1:])))}, nil
	case mark[0] == '$': // so PING is answered while nothing is subscribed
		h := heard{signal: pong}
		return h, f.payload(&h)
	}
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
	case "message", "smessage":
		h.signal = message
	case "subscribe", "ssubscribe":
		h.signal = subscribed
	case "unsubscribe", "sunsubscribe":
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
	n, ok := parseCount(line[1:])
	if line[0] != mark || !ok {
		return 0, errProtocol
	}
	return n, nil
}

// parseCount reads a number that is not negative, of at most 10 digits.
func parseCount(text []byte) (n int, ok bool) {
	if len(text) == 0 || len(text) > 10 {
		return 0, false
	}
	for _, digit := range text {
		if digit < '0' || digit > '9' {
			return 0, false
		}
		n = 10*n + int(digit-'0')
	}
	return n, true
}

// line reads a line, which has a byte at least, and holds until the next reading. An error that the server
// answers is an errRefused.
func (f *feed) line() ([]byte, error) {
	line, err := f.whole()
	if err == nil && line[0] == '-' {
		err = fmt.Errorf("%w: %s", errRefused, clip(string(line[1:])))
	}
	return line, err
}

// whole reads a line, errors too.
func (f *feed) whole() ([]byte, error) {
	line, err := f.in.ReadSlice('\n')
	switch n := len(line); {
	case errors.Is(err, bufio.ErrBufferFull):
		return nil, errProtocol
	case err != nil:
		return nil, err
	case n < 3 || line[n-2] != '\r':
		return nil, errProtocol
	}
	return line[:len(line)-2], nil
}

// dialFeed opens a feed to m, which must not be a replica. It ends with ctx at the latest: whatever ends it closes its
// socket, for a read can't be timed out without losing its place in the stream.
func (r *Redis) dialFeed(ctx context.Context, m *master) (f *feed, end func(), err error) {
	flow := &inflow{gather: gathering{pause: r.cfg.Gather}}
	conn, err := dialThrough(m.opt.TLSConfig, flow.under(m.opt.TLSConfig != nil))(ctx, m.opt.Network, m.addr)
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	end = func() {
		stop()
		_ = conn.Close()
	}
	f = newFeed(conn, flow, max(r.cfg.MaxMessage, maxControl)+max(addressHead, envelopeHead+maxAttributes))
	if err := f.login(m.opt); err != nil {
		end()
		return nil, nil, err
	}
	role, err := f.role()
	if errors.Is(err, errRefused) && !isPermission(err) || err != nil && !errors.Is(err, errRefused) {
		end()
		return nil, nil, fmt.Errorf("ask redis for its role: %w", err)
	}
	if err := m.judgeRole(role, r.triggers.pull); err != nil {
		end()
		return nil, nil, err
	}
	return f, end, nil
}
