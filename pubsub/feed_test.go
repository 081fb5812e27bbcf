package pubsub

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"wshub/pubsub/redistest"
)

// fromText is a feed that hears text, in pieces of any size.
func fromText(text string, limit int, pieces func(io.Reader) io.Reader) *feed {
	f := newFeed(nil, &inflow{}, limit)
	f.in.Reset(pieces(strings.NewReader(text)))
	return f
}

func whole(r io.Reader) io.Reader { return r }

func TestAFeedHearsWhatRedisSends(t *testing.T) {
	const limit = 10
	text := "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n" +
		"*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$5\r\na\r\n\x00b\r\n" +
		"*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$11\r\n01234567890\r\n" +
		"*3\r\n$7\r\nmessage\r\n$0\r\n\r\n$0\r\n\r\n" +
		"*2\r\n$4\r\npong\r\n$1\r\n7\r\n" +
		"*3\r\n$11\r\nunsubscribe\r\n$4\r\nnews\r\n:0\r\n"
	want := []heard{
		{subscribed, "news", nil}, {message, "news", []byte("a\r\n\x00b")}, {oversize, "news", nil}, {message, "", []byte{}},
		{pong, "", []byte("7")}, {unsubscribed, "news", nil},
	}
	for name, pieces := range map[string]func(io.Reader) io.Reader{"whole": whole, "byte by byte": iotest.OneByteReader, "half": iotest.HalfReader} {
		f := fromText(text, limit, pieces)
		for i, want := range want {
			got, err := f.hear()
			if err != nil || got.signal != want.signal || got.channel != want.channel || !bytes.Equal(got.payload, want.payload) {
				t.Errorf("%s, %d: got %+v, %v, want %+v", name, i, got, err, want)
			}
		}
		if _, err := f.hear(); !errors.Is(err, io.EOF) {
			t.Errorf("%s: at the end %v", name, err)
		}
	}
}

// A loop is woken once for all that came together, and nothing waits for what has not come.
func TestAFeedIsDrainedBeforeItWaits(t *testing.T) {
	const one = "*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$1\r\n1\r\n"
	ours, theirs := net.Pipe()
	defer ours.Close()
	defer theirs.Close()
	flow := &inflow{Conn: ours}
	f, heard := newFeed(flow, flow, 10), 0
	var drained []int // how many had been heard by then
	flow.drained = func() { drained = append(drained, heard) }
	go func() {
		for _, text := range []string{one + one + one[:10], one[10:], one} {
			_, _ = io.WriteString(theirs, text)
		}
	}()
	for range 4 {
		if _, err := f.hear(); err != nil {
			t.Fatal(err)
		}
		heard++
	}
	if want := []int{0, 2, 3}; !slices.Equal(drained, want) {
		t.Errorf("drained when %v had been heard, want %v", drained, want)
	}
}

func TestAFeedRefusesWhatASubscriberDoesNotGet(t *testing.T) {
	for text, want := range map[string]error{
		"+OK\r\n":                      errProtocol,
		"HTTP/1.1 400 Bad Request\r\n": errProtocol,
		"*1\r\n$7\r\nmessage\r\n":      errProtocol,
		"*3\r\n$8\r\npmessage\r\n$1\r\na\r\n$1\r\na\r\n":   errProtocol,
		"*3\r\n$7\r\nmessage\r\n$-1\r\n":                   errProtocol,
		"*3\r\n$7\r\nmessage\r\n$4\r\nnewsXX":              errProtocol,
		"*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$1\r\nabc":   errProtocol,
		"*3\r\n$9999\r\n":                                  errProtocol,
		"*3\r\n$7\r\nmessage\r\n$99999999999999999999\r\n": errProtocol,
		"*3\r\n$7\r\nmessage\r\n$2000\r\n":                 errProtocol,
		"*99999999999\r\n":                                 errProtocol,
		"*\r\n":                                            errProtocol,
		"\r\n":                                             errProtocol,
		"*3\n":                                             errProtocol,
		strings.Repeat("*", 2*feedBuffer):                  errProtocol,
		"*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$2000000000\r\nand no more": io.EOF,
	} {
		if _, err := fromText(text, 100, whole).hear(); !errors.Is(err, want) {
			t.Errorf("%.60q: %v, want %v", text, err, want)
		}
	}
}

func FuzzFeed(f *testing.F) {
	f.Add([]byte("*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$5\r\nhello\r\n*2\r\n$4\r\npong\r\n$1\r\n7\r\n"))
	f.Add([]byte("*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n-ERR no\r\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		const limit = 64
		a, b := fromText(string(text), limit, whole), fromText(string(text), limit, iotest.OneByteReader)
		for {
			one, err1 := a.hear()
			two, err2 := b.hear()
			if (err1 == nil) != (err2 == nil) || one.signal != two.signal && err1 == nil {
				t.Fatalf("%+v, %v; byte by byte %+v, %v", one, err1, two, err2)
			}
			if len(one.payload) > limit || len(one.channel) > maxChannel {
				t.Fatalf("%d bytes on a channel of %d", len(one.payload), len(one.channel))
			}
			if err1 != nil {
				return
			}
		}
	})
}

func TestAFeedSaysWhatRedisUnderstands(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		args := rapid.SliceOf(rapid.String()).Draw(t, "args")
		text := string(appendCommand(nil, "SUBSCRIBE", args))
		in := fromText(text, 0, whole)
		if n, err := in.number('*'); n != len(args)+1 || err != nil {
			t.Fatalf("%d, %v", n, err)
		}
		for _, want := range append([]string{"SUBSCRIBE"}, args...) {
			if got, err := in.short(1 << 20); string(got) != want || err != nil {
				t.Fatalf("%q, %v, want %q", got, err, want)
			}
		}
	})
}

func TestHearingAllocatesTheMessageOnly(t *testing.T) {
	one := "*3\r\n$7\r\nmessage\r\n$10\r\nhub:t:news\r\n$5\r\n12345\r\n"
	f := fromText(strings.Repeat(one, 200), 100, whole)
	if n := testing.AllocsPerRun(100, func() {
		if _, err := f.hear(); err != nil {
			t.Fatal(err)
		}
	}); n > 2 {
		t.Errorf("%v allocations", n)
	}
}

func TestTheSubscriberLogsIn(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	server.CLI("acl", "setuser", "hub", "on", ">pass", "allkeys", "allchannels", "+@all")
	server.CLI("acl", "setuser", "default", ">other", "+acl")
	for _, login := range []string{"hub:pass@", ":other@"} {
		r, sink := running(t, RedisConfig{URL: strings.Replace(server.URL(), "//", "//"+login, 1) + "/3"})
		mustFollow(t, r, "news", 0)
		mustPublish(t, r, "news", "1")
		wantEvents(t, sink, "news", 1, 1)
	}
	var log lines
	r := newRedis(t, RedisConfig{URL: strings.Replace(server.URL(), "//", "//hub:secret-and-wrong@", 1), Log: log.logger()})
	start(t, r)
	eventually(t, "it is refused", func() bool { return log.contains("WRONGPASS") })
	if log.contains("secret-and-wrong") {
		t.Error("the password is in the log")
	}
}

// TestAServerThatIsNoRedisIsGivenUp answers as a web server does.
func TestAServerThatIsNoRedisIsGivenUp(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(conn, "HTTP/1.1 400 Bad Request\r\n\r\n")
			_ = conn.Close()
		}
	}()
	r := newRedis(t, RedisConfig{URL: "redis://" + l.Addr().String()})
	start(t, r)
	eventually(t, "it is given up", func() bool { return r.Stats().Reconnects > 3 })
	if r.Ready() == nil {
		t.Error("ready")
	}
}

func BenchmarkHear(b *testing.B) {
	one := "*3\r\n$7\r\nmessage\r\n$10\r\nhub:t:news\r\n$128\r\n" + strings.Repeat("1", 128) + "\r\n"
	text := strings.Repeat(one, 1000)
	f := fromText(text, 1000, whole)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%1000 == 0 {
			f.in.Reset(strings.NewReader(text))
		}
		if _, err := f.hear(); err != nil {
			b.Fatal(err)
		}
	}
}
