package engine

import (
	"bufio"
	"bytes"
	"compress/flate"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// RFC 7692, 7.1.
func TestOffersOfCompressionAreAnswered(t *testing.T) {
	t.Parallel()
	const plain = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
	for _, c := range []struct {
		offers string
		window int // Config.Deflate
		terms  Deflate
		answer string
	}{
		{"", 15, NoDeflate, ""},
		{"permessage-deflate", 0, NoDeflate, ""},
		{"permessage-deflate", 15, Deflated, plain},
		{"permessage-deflate; client_max_window_bits", 15, Deflated, plain}, // Chromium, Firefox
		{"PerMessage-Deflate ;client_max_window_bits = 15", 15, Deflated, plain},
		{"permessage-deflate; server_no_context_takeover; client_no_context_takeover", 15, Deflated, plain},
		{`permessage-deflate; server_max_window_bits="15"`, 15, Deflated, plain + "; server_max_window_bits=15"},
		{"permessage-deflate; server_max_window_bits=10", 15, DeflatedNarrow, plain + "; server_max_window_bits=9"},
		{"permessage-deflate; server_max_window_bits=9", 15, DeflatedNarrow, plain + "; server_max_window_bits=9"},
		{"permessage-deflate", 12, Deflated, plain + "; server_max_window_bits=12"},
		{"permessage-deflate; server_max_window_bits=14", 12, Deflated, plain + "; server_max_window_bits=12"},
		{"permessage-deflate; server_max_window_bits=11", 12, DeflatedNarrow, plain + "; server_max_window_bits=9"},
		{"x-webkit-deflate-frame, foo; bar, permessage-deflate", 15, Deflated, plain},
		// Declined: a window that no compressor of ours or zlib's has, and parameters that RFC 7692 does not know so.
		{"permessage-deflate; server_max_window_bits=8", 15, NoDeflate, ""},
		{"permessage-deflate; server_max_window_bits=8, permessage-deflate", 15, Deflated, plain},
		{"permessage-deflate; server_max_window_bits=16", 15, NoDeflate, ""},
		{"permessage-deflate; server_max_window_bits=7", 15, NoDeflate, ""},
		{"permessage-deflate; server_max_window_bits=09", 15, NoDeflate, ""},
		{"permessage-deflate; server_max_window_bits=+9", 15, NoDeflate, ""},
		{"permessage-deflate; server_max_window_bits=1000", 15, NoDeflate, ""},
		{"permessage-deflate; server_max_window_bits", 15, NoDeflate, ""},
		{"permessage-deflate; client_max_window_bits=16", 15, NoDeflate, ""},
		{"permessage-deflate; client_max_window_bits=x", 15, NoDeflate, ""},
		{"permessage-deflate; server_no_context_takeover=1", 15, NoDeflate, ""},
		{"permessage-deflate; client_no_context_takeover=true", 15, NoDeflate, ""},
		{"permessage-deflate; server_no_context_takeover; server_no_context_takeover", 15, NoDeflate, ""},
		{"permessage-deflate; server_max_window_bits=10; server_max_window_bits=10", 15, NoDeflate, ""},
		{"permessage-deflate; unknown", 15, NoDeflate, ""},
		{"permessage-bzip2", 15, NoDeflate, ""},
	} {
		var o offer
		for e := range elements([]string{c.offers}) {
			if o.window == 0 {
				o = deflateOffer(e)
			}
		}
		if terms, answer := o.agree(c.window); terms != c.terms || answer != c.answer {
			t.Errorf("%q, window %d: %d %q, want %d %q", c.offers, c.window, terms, answer, c.terms, c.answer)
		}
	}
}

// An answer says nothing that the offer did not allow.
func FuzzDeflateOffer(f *testing.F) {
	for _, s := range []string{
		"permessage-deflate; client_max_window_bits", "permessage-deflate; server_max_window_bits=9; server_no_context_takeover",
		`permessage-deflate; server_max_window_bits="10"`, "permessage-deflate; server_max_window_bits=8", "permessage-deflate; a=b",
	} {
		f.Add(s, 15)
	}
	f.Fuzz(func(t *testing.T, extension string, window int) {
		window = narrowWindow + (window&0xFF)%(maxWindow-narrowWindow+1)
		if !isExtension(extension) {
			return
		}
		o := deflateOffer(extension)
		terms, answer := o.agree(window)
		if (terms == NoDeflate) != (answer == "") || (o.window == 0) != (answer == "") {
			t.Fatalf("%q: %v, %d %q", extension, o, terms, answer)
		}
		if answer == "" {
			return
		}
		if !isExtension(answer) || deflateOffer(answer).window == 0 {
			t.Fatalf("%q is answered %q", extension, answer)
		}
		agreed := deflateOffer(answer)
		if agreed.window > o.window || o.named && !agreed.named || int(agreed.window) > window {
			t.Fatalf("%q is answered %q", extension, answer)
		}
	})
}

// echoDeflated sends messages back, compressed where that was agreed on and pays.
type echoDeflated struct{ closed chan *Cause }

func (e *echoDeflated) Handshake(h *Handshake) {
	h.Accept("", &echoDeflatedPeer{e: e, conn: h.Conn()}, nil)
}

type echoDeflatedPeer struct {
	Usual
	e    *echoDeflated
	conn *Conn
}

func (p *echoDeflatedPeer) Message(op Opcode, payload []byte) {
	frame := AppendFrame(nil, op, payload)
	if f := p.conn.Loop().Deflate(frame, p.conn.Deflate()); f != nil {
		frame = f
	}
	p.conn.Write(frame)
}
func (p *echoDeflatedPeer) Overhead(int)        {}
func (p *echoDeflatedPeer) Closed(cause *Cause) { p.e.closed <- cause }

// deflateClient is a client that compresses by the standard library.
type deflateClient struct {
	net.Conn
	in *bufio.Reader
}

func deflateDial(t testing.TB, s *Server, offer string) (*deflateClient, string) {
	t.Helper()
	conn, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	_, _ = io.WriteString(conn, head("+Sec-WebSocket-Extensions: "+offer))
	c := &deflateClient{conn, bufio.NewReader(conn)}
	res, err := http.ReadResponse(c.in, nil)
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v, %v", res, err)
	}
	return c, res.Header.Get("Sec-WebSocket-Extensions")
}

// send sends a message in n fragments, compressed at a level; ping says that a ping goes between them.
func (c *deflateClient) send(t testing.TB, op byte, data []byte, level, n int, ping bool) {
	t.Helper()
	payload := string(squeezed(t, level, data))
	first := op | deflateBit
	for i := range n {
		part := payload[len(payload)*i/n : len(payload)*(i+1)/n]
		if i == n-1 {
			first |= finBit
		}
		if _, err := c.Write(clientFrame(first, part)); err != nil {
			t.Fatal(err)
		}
		if ping && i < n-1 {
			_, _ = c.Write(clientFrame(finPing, ""))
		}
		first = continuation
	}
}

// read reads the next message; deflated says that it came compressed.
func (c *deflateClient) read(t testing.TB) (op byte, data []byte, deflated bool) {
	t.Helper()
	for {
		var h [2]byte
		if _, err := io.ReadFull(c.in, h[:]); err != nil {
			t.Fatal(err)
		}
		n := uint64(h[1])
		switch n {
		case 126:
			var b [2]byte
			_, _ = io.ReadFull(c.in, b[:])
			n = uint64(binary.BigEndian.Uint16(b[:]))
		case 127:
			var b [8]byte
			_, _ = io.ReadFull(c.in, b[:])
			n = binary.BigEndian.Uint64(b[:])
		}
		data = make([]byte, n)
		if _, err := io.ReadFull(c.in, data); err != nil {
			t.Fatal(err)
		}
		if h[0] == finPong {
			continue
		}
		if h[0]&deflateBit != 0 {
			got, whole := byStandard(data, 16<<20)
			if !whole {
				t.Fatalf("%d bytes can't be inflated", n)
			}
			return h[0] &^ deflateBit, got, true
		}
		return h[0], data, false
	}
}

// The cases are of the kinds of Autobahn's 12 and 13: all sizes, fragments, and terms.
func TestCompressedMessagesOfAllSizesAndTermsComeBack(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	words := strings.Fields("The quick brown fox jumps over κόσμε lazy dogs { } 17 4.5 \"id\": \"status\": null,")
	sample := func(n int) []byte {
		var b []byte
		for len(b) < n {
			b = append(append(b, words[random.IntN(len(words))]...), ' ')
		}
		return bytes.ToValidUTF8(b[:n], nil)
	}
	for _, window := range []int{15, 12, 9} {
		s := running(t, Config{Deflate: window, MaxMessage: 256 << 10, MaxQueued: 1 << 20}, &echoDeflated{closed: make(chan *Cause, 100)})
		for _, offer := range []string{
			"permessage-deflate", "permessage-deflate; client_max_window_bits", "permessage-deflate; server_no_context_takeover",
			"permessage-deflate; server_max_window_bits=9", "permessage-deflate; server_max_window_bits=15",
			"permessage-deflate; server_no_context_takeover; server_max_window_bits=9",
			"permessage-deflate; server_max_window_bits=8, permessage-deflate; server_no_context_takeover; server_max_window_bits=11, permessage-deflate",
		} {
			c, answer := deflateDial(t, s, offer)
			if answer == "" {
				t.Fatalf("%q is declined", offer)
			}
			for i, size := range []int{0, 1, 16, 64, 125, 126, 256, 1024, 4096, 8192, 16384, 32768, 65536, 131072, 262144} {
				data := sample(size)
				fragments := []int{1, 2, 7, 64}[i%4]
				op := byte(text)
				if i%2 > 0 {
					op = binaryOp
				}
				c.send(t, op, data, i%10, fragments, i%3 == 0)
				gotOp, got, deflated := c.read(t)
				if gotOp != op|finBit || !bytes.Equal(got, data) || deflated != (size >= 256) {
					t.Fatalf("%q, %d bytes: %x, %d bytes, deflated: %v", offer, size, gotOp, len(got), deflated)
				}
			}
			if s.Stats().Deflates == 0 {
				t.Error("the connection is not counted")
			}
		}
	}
}

func TestBadCompressionClosesAndIsCounted(t *testing.T) {
	e := &echoDeflated{closed: make(chan *Cause, 10)}
	s := running(t, Config{Deflate: 15, Pollers: 1}, e)
	good := []byte(strings.Repeat("good ", 100))
	bomb := squeezed(t, 9, make([]byte, 10<<20))
	for _, c := range []struct {
		name  string
		first byte
		in    string
		code  uint16
		cause *Cause
	}{
		{"a bomb", finText | deflateBit, string(bomb), 1009, InflateBomb},
		{"no deflate", finText | deflateBit, "this is no deflate", 1007, InvalidDeflate},
		{"no text inside", finText | deflateBit, string(squeezed(t, 6, []byte("\xff\xfe"))), 1007, InvalidText},
		{"RSV2", finText | 0x20, "x", 1002, ProtocolError},
		{"RSV1 and RSV3", finText | 0x50, "x", 1002, ProtocolError},
		{"a compressed ping", finPing | deflateBit, "", 1002, ProtocolError},
		{"a compressed continuation", finContinuation | deflateBit, "", 1002, ProtocolError},
		{"over the limit as sent", finBinary | deflateBit, string(squeezed(t, 0, make([]byte, 70_000))), 1009, TooBig},
	} {
		client, _ := deflateDial(t, s, "permessage-deflate")
		client.send(t, text, good, 6, 2, false)
		if _, got, _ := client.read(t); !bytes.Equal(got, good) {
			t.Fatalf("%s: %q", c.name, got)
		}
		if _, err := client.Write(clientFrame(c.first, c.in)); err != nil {
			t.Fatal(err)
		}
		op, payload, _ := client.read(t)
		if code := binary.BigEndian.Uint16(append(payload, 0, 0)); op != finClose || code != c.code {
			t.Errorf("%s: frame %x, code %d, want %d", c.name, op, code, c.code)
		}
		if cause := <-e.closed; cause != c.cause {
			t.Errorf("%s: closed for %s, want %s", c.name, cause.Name, c.cause.Name)
		}
	}
	// The second fragment of a compressed message has no RSV1.
	client, _ := deflateDial(t, s, "permessage-deflate")
	_, _ = client.Write(append(clientFrame(text|deflateBit, "a"), clientFrame(finContinuation|deflateBit, "b")...))
	if op, payload, _ := client.read(t); op != finClose || binary.BigEndian.Uint16(payload) != 1002 {
		t.Errorf("RSV1 within a message: %x %q", op, payload)
	}
}

// The buffer of a large message, or of a bomb, is no burden for a loop whose clients send nothing compressed any more.
func TestTheBufferOfALargeMessageIsLetGo(t *testing.T) {
	const limit = 4 << 20
	for name, size := range map[string]int{"a message": limit, "a bomb": 2 * limit} {
		t.Run(name, func(t *testing.T) {
			s := running(t, Config{Deflate: 15, Pollers: 1, MaxMessage: limit}, &hearing{message: func(c *Conn, _ []byte) { c.Close(ByPeer) }})
			client, _ := deflateDial(t, s, "permessage-deflate")
			send(client, clientFrame(finBinary|deflateBit, string(squeezed(t, 9, make([]byte, size)))), whole)
			client.read(t) // its Close frame
			kept := make(chan int, 1)
			s.loops[0].Post(func() { kept <- cap(s.loops[0].inflater.out) })
			if n := await(t, kept); n > spareInflated {
				t.Errorf("%d bytes are kept", n)
			}
		})
	}
}

func TestRSV1IsRefusedWhereNothingWasAgreedOn(t *testing.T) {
	for name, c := range map[string]struct {
		window int
		offer  string
	}{"off": {0, "permessage-deflate"}, "not offered": {15, "foo"}} {
		s := running(t, Config{Deflate: c.window}, &echoDeflated{closed: make(chan *Cause, 1)})
		client, answer := deflateDial(t, s, c.offer)
		if answer != "" {
			t.Errorf("%s: answered %q", name, answer)
		}
		client.send(t, text, []byte("x"), 6, 1, false)
		if op, payload, _ := client.read(t); op != finClose || binary.BigEndian.Uint16(payload) != 1002 {
			t.Errorf("%s: %x %q", name, op, payload)
		}
	}
}

func TestAnotherImplementationCompressesWithUs(t *testing.T) {
	s := running(t, Config{Deflate: 15}, &echoDeflated{closed: make(chan *Cause, 10)})
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for _, mode := range []websocket.CompressionMode{websocket.CompressionContextTakeover, websocket.CompressionNoContextTakeover} {
		c, _, err := websocket.Dial(ctx, fmt.Sprintf("ws://%s/notification", s.Addr()), &websocket.DialOptions{CompressionMode: mode, CompressionThreshold: 1})
		if err != nil {
			t.Fatal(err)
		}
		for n := 1; n < 30_000; n = 2*n + 1 {
			want := strings.Repeat("κόσμε "+fmt.Sprint(n), n)[:n*6]
			want = strings.ToValidUTF8(want, "")
			if err := c.Write(ctx, websocket.MessageText, []byte(want)); err != nil {
				t.Fatal(err)
			}
			if len(want) > 32<<10 {
				break
			}
			if _, got, err := c.Read(ctx); err != nil || string(got) != want {
				t.Fatalf("%d bytes: %.40q, %v", len(want), got, err)
			}
		}
		_ = c.CloseNow()
	}
	if st := s.Stats(); st.Inflated == 0 || st.Deflated == 0 || st.InflateIn >= st.InflateOut || st.DeflateOut >= st.DeflateIn {
		t.Errorf("%+v", st)
	}
}

// A loop compresses for a turn's time at most; behind that frames go out as they are.
func TestCompressingIsBoundedInATurn(t *testing.T) {
	t.Parallel()
	l := bareLoop()
	l.srv.cfg.Deflate = 15
	frame := AppendFrame(nil, OpText, []byte(strings.Repeat("a text of 1 KiB ", 64)))
	n := 0
	for ; l.Deflate(frame, Deflated) != nil; n++ {
		if n > 1000 {
			t.Fatal("a turn has no end")
		}
	}
	if n < 50 || l.count.notDeflated.Load() != 1 {
		t.Errorf("%d of a turn, %d not", n, l.count.notDeflated.Load())
	}
	l.turn()
	if l.Deflate(frame, Deflated) == nil {
		t.Error("the next turn compresses nothing")
	}
	for name, payload := range map[string][]byte{
		"huge": bytes.Repeat([]byte("a"), maxDeflated+1), "noise": squeezed(t, flate.BestCompression, frame), "empty": nil,
	} {
		if l.Deflate(AppendFrame(nil, OpText, payload), Deflated) != nil {
			t.Errorf("%s: it is compressed", name)
		}
	}
	if l.Deflate(frame, NoDeflate) != nil {
		t.Error("compressed for who did not want it")
	}
}

// FuzzDeflate compresses any payload, and has our inflater and the standard library restore it.
func FuzzDeflate(f *testing.F) {
	f.Add([]byte(strings.Repeat(`{"id":1}`, 100)), false)
	f.Add([]byte(strings.Repeat("x", 70_000)), true)
	f.Add([]byte(nil), true)
	l := bareLoop()
	l.srv.cfg.Deflate = 15
	var inflate inflater
	f.Fuzz(func(t *testing.T, payload []byte, narrow bool) {
		terms := Deflated
		if narrow {
			terms = DeflatedNarrow
		}
		out := l.deflater.deflate(payload, terms, 15)
		if got, err := inflate.message(out, len(payload)); err != nil || !bytes.Equal(got, payload) {
			t.Fatalf("%d bytes come back as %d, %v", len(payload), len(got), err)
		}
		if got, whole := byStandard(out, len(payload)); !whole || !bytes.Equal(got, payload) {
			t.Fatalf("%d bytes come back as %d from the standard library", len(payload), len(got))
		}
	})
}

// BenchmarkDeflate compresses events of orders in JSON, as a loop does; B/out is the size of the frame.
func BenchmarkDeflate(b *testing.B) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, size := range []int{200, 1 << 10, 10 << 10, 60 << 10} {
		payload := []byte(`{"type":"event","topic":"orders","data":[`)
		for len(payload) < size {
			payload = fmt.Appendf(payload, `{"id":%d,"customer":"%x","status":"%s","price":%d.%02d,"currency":"EUR"},`, random.IntN(1e9), random.Uint64(),
				[]string{"open", "paid", "shipped", "cancelled"}[random.IntN(4)], random.IntN(500), random.IntN(100))
		}
		frame := AppendFrame(nil, OpText, payload[:size])
		for terms, name := range map[Deflate]string{Deflated: "wide", DeflatedNarrow: "narrow"} {
			b.Run(fmt.Sprintf("%dB/%s", size, name), func(b *testing.B) {
				l := bareLoop()
				l.srv.cfg.Deflate = 15
				out := frame
				b.ReportAllocs()
				for b.Loop() {
					l.deflating = 0
					if f := l.Deflate(frame, terms); f != nil {
						out = f
					}
				}
				b.ReportMetric(float64(len(out)), "B/out")
			})
		}
	}
}
