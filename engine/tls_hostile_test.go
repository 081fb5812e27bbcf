package engine

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// A client that has sent a part of a record's header is waited for as a silent one is, and makes room as that does.
func TestHandshakesInTheMiddleOfAHeaderMakeRoom(t *testing.T) {
	t.Parallel()
	cfg := secure()
	cfg.MaxTLSHandshakes, cfg.HandshakeTimeout = 16, time.Minute
	s := running(t, cfg, &echoing{})
	hello := clientHello(t)
	for range 40 {
		c := connect(t, s)
		send(c, hello, whole)
		_, _ = io.ReadFull(c, make([]byte, 1)) // the answer begins: the server waits from here on
		send(c, []byte{0x17}, whole)
	}
	for range 4 { // on both loops
		expectOpen(t, openedTLS(t, s, &tls.Config{RootCAs: trusted(), ServerName: "localhost"}))
	}
}

// corked keeps what is written, once held is not nil.
type corked struct {
	net.Conn
	held *bytes.Buffer
}

func (c *corked) Write(b []byte) (int, error) {
	if c.held != nil {
		return c.held.Write(b)
	}
	n, err := c.Conn.Write(b)
	c.held = new(bytes.Buffer) // all behind the ClientHello
	return n, err
}

// While a handshake is at work, more may come behind the client's Finished than the read buffer holds.
func TestMuchMayComeBehindAFinished(t *testing.T) {
	t.Parallel()
	cfg := secure()
	cfg.ReadBuffer = 4 << 10
	text := strings.Repeat("x", 60<<10)
	c := behindFinished(t, running(t, cfg, &echoing{}), append([]byte(head()), clientFrame(finText, text)...))
	readSwitch(t, c)
	expect(t, c, AppendFrame(nil, OpText, []byte(text)))
}

// A Post's client waits for nothing but its own Finished.
func TestAWholePostMayComeBehindAFinished(t *testing.T) {
	t.Parallel()
	cfg := secure()
	cfg.MaxMessage = 1 << 20
	body := strings.Repeat("x", cfg.MaxMessage)
	c := behindFinished(t, streamer(t, cfg, &streaming{}), []byte(plainHTTP("POST", "Content-Length: "+strconv.Itoa(len(body)))+body))
	if answer, err := io.ReadAll(c); err != nil || !bytes.HasSuffix(answer, []byte("\r\n\r\n"+body)) {
		t.Errorf("the answer is %.100q, %v", answer, err)
	}
}

// behindFinished is a connection of which the server has Finished, and text behind it, before its handshake goes on.
func behindFinished(t *testing.T, s *Server, text []byte) net.Conn {
	t.Helper()
	cork := &corked{Conn: connect(t, s)}
	c := tls.Client(cork, &tls.Config{RootCAs: trusted(), ServerName: "localhost", CurvePreferences: []tls.CurveID{tls.X25519}})
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	for range cap(s.tlsCPU) { // others compute
		s.tlsCPU <- struct{}{}
	}
	goOn := sync.OnceFunc(func() {
		for range cap(s.tlsCPU) {
			<-s.tlsCPU
		}
	})
	t.Cleanup(goOn)
	send(c, text, whole)
	go send(cork.Conn, cork.held.Bytes(), whole)
	until(t, "all has come", func() bool { return s.Stats().Partial > int64(len(text)) })
	goOn()
	return c
}

// A record in pieces that a stream's client sends is held until it is whole, and no longer.
func TestARecordOfAStreamsClientIsGivenBack(t *testing.T) {
	t.Parallel()
	s := streamer(t, secure(), &streaming{})
	conn := connect(t, s)
	pieces := &halves{Conn: conn}
	c := tls.Client(pieces, &tls.Config{RootCAs: trusted(), ServerName: "localhost"})
	send(c, []byte(plainHTTP("GET", acceptStream)), whole)
	expect(t, c, append(appendStreamHead(nil, EventStream, ""), "first\n"...))
	pieces.between = func() { until(t, "a half is held", func() bool { return s.Stats().Partial > 0 }) }
	send(c, []byte("nobody wants to know"), whole)
	until(t, "nothing is held", func() bool { return s.Stats().Partial == 0 })
}

// halves writes in two pieces, once between is not nil, and calls it between them.
type halves struct {
	net.Conn
	between func()
}

func (c *halves) Write(b []byte) (int, error) {
	if c.between == nil {
		return c.Conn.Write(b)
	}
	send(c.Conn, b[:len(b)/2], whole)
	c.between()
	send(c.Conn, b[len(b)/2:], whole)
	return len(b), nil
}

// Updates of keys cost much, and clients send few.
func TestTextMakesUpForFewRecordsWithout(t *testing.T) {
	t.Parallel()
	layer := func() *tlsLayer { return &tlsLayer{conn: &Conn{loop: new(Loop)}} }
	const update = 27 // bytes of its record
	for name, c := range map[string]struct {
		updates, text int // in each round
		ends          bool
	}{
		"without text":              {16, 0, true},
		"between bytes of text":     {16, 1, true},
		"as much text":              {1, update, true},
		"one in many small records": {1, 16 * update, false},
	} {
		l, ended := layer(), false
		for round := 0; round < 1000 && !ended; round++ {
			for range c.updates {
				ended = ended || !l.account(update, 0)
			}
			for range c.text {
				ended = ended || !l.account(23, 1)
			}
		}
		if ended != c.ends {
			t.Errorf("%s: it ends: %v", name, ended)
		}
		if spent := l.conn.loop.spent; spent < futileCost {
			t.Errorf("%s: %v were spent", name, spent)
		}
	}
}
