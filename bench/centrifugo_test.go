package bench

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/centrifugal/protocol"
	"github.com/coder/websocket"
	"github.com/golang-jwt/jwt/v5"

	"wshub/pubsub/redistest/drills"
)

// centrifugoConn is what the faulty server needs of a client that speaks Centrifugo's protocol. It uses the
// codec of Centrifugo's servers.
type centrifugoConn struct {
	protobuf bool
	pings    int // sent and not answered
}

// centrifugoAt returns nil for requests of other protocols.
func centrifugoAt(r *http.Request) *centrifugoConn {
	if r.URL.Path != "/connection/websocket" {
		return nil
	}
	return &centrifugoConn{protobuf: r.Header.Get("Sec-WebSocket-Protocol") == "centrifuge-protobuf"}
}

func newCentrifugo(t *testing.T, f faults) *faulty {
	s := newFaulty(t, f)
	s.path = "/connection/websocket"
	return s
}

func (c *centrifugoConn) kind() websocket.MessageType {
	if c.protobuf {
		return websocket.MessageBinary
	}
	return websocket.MessageText
}

func (c *centrifugoConn) join(messages [][]byte) []byte {
	var encoder protocol.DataEncoder = protocol.NewJSONDataEncoder()
	if c.protobuf {
		encoder = protocol.NewProtobufDataEncoder()
	}
	for _, m := range messages {
		_ = encoder.Encode(m) // it goes to memory
	}
	return encoder.Finish()
}

func (c *centrifugoConn) reply(r *protocol.Reply) string {
	var encoder protocol.ReplyEncoder = protocol.NewJSONReplyEncoder()
	if c.protobuf {
		encoder = protocol.NewProtobufReplyEncoder()
	}
	b, err := encoder.Encode(r)
	if err != nil {
		panic(err) // data of an event is no JSON
	}
	return string(b)
}

func (c *centrifugoConn) push(topic string, n int, data string) string {
	pub := &protocol.Publication{Data: protocol.Raw(data), Offset: uint64(n)}
	return c.reply(&protocol.Reply{Push: &protocol.Push{Channel: topic, Pub: pub}})
}

// command does what one frame asks for. False ends the connection.
func (s *faulty) command(c *faultyConn, frame []byte) bool {
	var decoder protocol.CommandDecoder = protocol.NewJSONCommandDecoder(frame)
	if c.cf.protobuf {
		decoder = protocol.NewProtobufCommandDecoder(frame)
	}
	for {
		command, err := decoder.Decode()
		if command == nil || err != nil && !errors.Is(err, io.EOF) || !s.obey(c, command) {
			return false
		}
		if err != nil {
			return true
		}
	}
}

func (s *faulty) obey(c *faultyConn, command *protocol.Command) bool {
	switch {
	case command.Connect != nil:
		user, err := s.userOf(c, command.Connect.Token)
		if err != nil {
			c.say(c.cf.reply(&protocol.Reply{Id: command.Id, Error: &protocol.Error{Code: 101, Message: err.Error()}}))
			return true
		}
		result := &protocol.ConnectResult{Client: "c", Ping: 25, Pong: true}
		s.mu.Lock()
		if c.user = user; user != "" {
			own := "user:" + user
			result.Subs = map[string]*protocol.SubscribeResult{own: s.follow(c, own, command.Connect.Subs[own])}
		}
		c.say(c.cf.reply(&protocol.Reply{Id: command.Id, Connect: result}))
		s.mu.Unlock()
	case command.Subscribe != nil:
		s.mu.Lock()
		result := s.follow(c, command.Subscribe.Channel, command.Subscribe)
		c.say(c.cf.reply(&protocol.Reply{Id: command.Id, Subscribe: result}))
		s.mu.Unlock()
	case command.Publish != nil:
		s.publish(command.Publish.Channel, string(command.Publish.Data))
		c.say(c.cf.reply(&protocol.Reply{Id: command.Id, Publish: &protocol.PublishResult{}}))
	case command.Id == 0: // a pong
		s.mu.Lock()
		defer s.mu.Unlock()
		c.cf.pings--
		return c.cf.pings >= 0
	default:
		return false
	}
	return true
}

// userOf believes the URL where no secret is set.
func (s *faulty) userOf(c *faultyConn, token string) (string, error) {
	if s.secret == "" {
		return c.user, nil
	}
	parsed, err := jwt.Parse(token, func(*jwt.Token) (any, error) { return []byte(s.secret), nil },
		jwt.WithValidMethods([]string{"HS256"}), jwt.WithExpirationRequired())
	if err != nil {
		return "", err
	}
	return parsed.Claims.GetSubject()
}

// follow is called with the lock held: no event may come between the answer and those that follow it.
func (s *faulty) follow(c *faultyConn, topic string, ask *protocol.SubscribeRequest) *protocol.SubscribeResult {
	c.topics[topic] = true
	head := len(s.history[topic])
	result := &protocol.SubscribeResult{Recoverable: true, Positioned: true, Epoch: "e", Offset: uint64(head)}
	if ask == nil || !ask.Recover {
		return result
	}
	if result.WasRecovering = true; s.forgetful {
		result.Epoch = "f" + strconv.Itoa(c.nth)
		return result
	}
	result.Recovered, result.Offset = ask.Epoch == "e", ask.Offset
	for n := int(ask.Offset); n < head; n++ {
		if s.dropEvery > 0 && n%s.dropEvery == 0 {
			continue
		}
		result.Publications = append(result.Publications, &protocol.Publication{Data: protocol.Raw(s.history[topic][n]), Offset: uint64(n + 1)})
	}
	return result
}

// encodings are the values of --protocol.
var encodings = []string{"centrifugo", "centrifugo-protobuf"}

func TestEveryScenarioSpeaksCentrifugo(t *testing.T) {
	drills.InProcess(t)
	t.Parallel()
	for line, assert := range map[string]func(*testing.T, *Run){
		"idle --steps=10,20 --rest=0s --watch=100ms":               func(t *testing.T, r *Run) { wantEqual(t, r.Counts.Ready, 20) },
		"idle --users --private --steps=10 --rest=0s --watch=0s":   func(t *testing.T, r *Run) { wantEqual(t, r.Counts.Ready, 10) },
		"connect --clients=50 --shards=2":                          func(t *testing.T, r *Run) { wantEqual(t, r.Connect.Ready, 50) },
		"fanout --clients=20 --rate=100 --duration=1s":             func(t *testing.T, r *Run) { wantEqual(t, r.Counts.Delivered, 2000) },
		"rooms --topics=10 --followers=3 --rate=200 --duration=1s": func(t *testing.T, r *Run) { wantEqual(t, r.Counts.Delivered, 600) },
		"unicast --clients=20 --rate=200 --duration=1s":            func(t *testing.T, r *Run) { wantEqual(t, r.Counts.Delivered, 200) },
		"inbound --clients=20 --rate=200 --duration=1s": func(t *testing.T, r *Run) {
			wantEqual(t, r.Counts.Delivered, r.Counts.Sent)
			wantEqual(t, r.Counts.Acked, r.Counts.Sent)
		},
		"churn --clients=40 --churn=50 --rate=50 --duration=2s": func(t *testing.T, r *Run) {
			if r.Counts.Left < 80 || r.Counts.Closed != 0 {
				t.Errorf("%+v", r.Counts)
			}
		},
		"storm --clients=40 --rate=100 --duration=3s --window=300ms": func(t *testing.T, r *Run) {
			if r.Storm.Away != 20 || r.Counts.Missed != 0 || r.Counts.Gaps != 0 || r.Counts.Delivered < 40*280 {
				t.Errorf("%+v, %+v", r.Storm, r.Counts)
			}
		},
		"max --clients=5 --from=2 --to=4 --trial=1s --p99=5s --tries=5": func(t *testing.T, r *Run) { wantEqual(t, r.Max.Best.Rate, 4) },
	} {
		words := strings.Fields(line)
		for _, encoding := range encodings {
			if encoding == "centrifugo-protobuf" && !slices.Contains([]string{"fanout", "unicast", "inbound", "storm"}, words[0]) {
				continue // the others have nothing that these have not
			}
			t.Run(encoding+" "+line, func(t *testing.T) {
				t.Parallel()
				s := newCentrifugo(t, faults{})
				args := append([]string{"run", words[0], "--protocol=" + encoding}, s.flagsOf(words[0])...)
				o := hubbench(t, t.Context(), append(args, words[1:]...)...)
				if o.status != exitOK {
					t.Errorf("status %d", o.status)
				}
				assert(t, o.run(t))
			})
		}
	}
}

func wantEqual[T comparable](t *testing.T, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestFaultsOfACentrifugoServerAreCountedAsWhatTheyAre(t *testing.T) {
	drills.InProcess(t)
	t.Parallel()
	type want struct{ lost, repeated, reordered, foreign, corrupt uint64 }
	flip := func(event string) []byte { return []byte(strings.Replace(event, `"pad`, `"pae`, 1)) }
	for name, c := range map[string]struct {
		faults faults
		want   func(n uint64) want
	}{
		"none":            {faults{}, func(uint64) want { return want{} }},
		"drops":           {faults{dropEvery: 50}, func(n uint64) want { return want{lost: n} }},
		"repeats":         {faults{repeatEvery: 50}, func(n uint64) want { return want{repeated: n} }},
		"changes a byte":  {faults{corruptEvery: 50, spoil: flip}, func(n uint64) want { return want{lost: n, corrupt: n} }},
		"cuts":            {faults{corruptEvery: 50, spoil: func(e string) []byte { return []byte(e[:len(e)-3]) }}, func(n uint64) want { return want{lost: n, corrupt: n} }},
		"another's topic": {faults{corruptEvery: 50, spoil: elsewhere}, func(n uint64) want { return want{lost: n, foreign: n} }},
	} {
		for _, encoding := range encodings {
			t.Run(encoding+" "+name, func(t *testing.T) {
				t.Parallel()
				o := fanoutAt(t, newCentrifugo(t, c.faults), "--rate=250", "--duration=1s", "--protocol="+encoding)
				n := o.run(t).Counts
				expected := c.want(n.Sent / 50 * followers)
				if got := (want{n.Lost, n.Repeated, n.Reordered, n.Foreign, n.Corrupt}); got != expected || n.Sent == 0 {
					t.Errorf("counted %+v, want %+v", got, expected)
				}
			})
		}
	}
}

// elsewhere has a push tell another channel than the event in it.
func elsewhere(push string) []byte {
	head, event, _ := strings.Cut(push, `{"run"`)
	at := strings.LastIndex(head, "channel")
	return []byte(head[:at] + "canal:x" + head[at+len("channel"):] + `{"run"` + event)
}

func TestWhatACentrifugoServerPromisesToRecoverIsJudged(t *testing.T) {
	drills.InProcess(t)
	t.Parallel()
	for name, c := range map[string]struct {
		faults faults
		status int
		ok     func(c *Run) bool
	}{
		"forgetful": {faults{forgetful: true}, exitOK, func(r *Run) bool { return r.Counts.Gaps == 5 && r.Counts.Missed > 0 && r.Counts.Lost == 0 }},
		"drops":     {faults{dropEvery: 100}, exitFound, func(r *Run) bool { return r.Counts.Gaps == 0 && r.Counts.Missed == 0 && r.Counts.Lost > 0 }},
	} {
		for _, encoding := range encodings {
			t.Run(encoding+" "+name, func(t *testing.T) {
				t.Parallel()
				args := []string{"run", "storm", "--protocol=" + encoding, "--clients=10", "--rate=100", "--duration=3s", "--window=300ms"}
				o := hubbench(t, t.Context(), append(args, newCentrifugo(t, c.faults).flags()...)...)
				if o.status != c.status || !c.ok(o.run(t)) {
					t.Errorf("status %d, %+v", o.status, o.run(t).Counts)
				}
			})
		}
	}
}

// The server sends a ping before each event, and ends a connection that answers one that it did not send.
func TestPingsOfCentrifugoAreCounted(t *testing.T) {
	t.Parallel()
	for _, encoding := range encodings {
		o := fanoutAt(t, newCentrifugo(t, faults{ping: true}), "--rate=50", "--protocol="+encoding)
		if c := o.run(t).Counts; o.status != exitOK || c.Pings != c.Delivered || c.Pings == 0 {
			t.Errorf("%s: status %d, %+v", encoding, o.status, c)
		}
	}
}

func TestTokensGoIntoTheConnectCommand(t *testing.T) {
	t.Parallel()
	const secret = "a secret of thirty-two bytes or more"
	s := newCentrifugo(t, faults{secret: secret})
	for _, encoding := range encodings {
		unicast := append([]string{"run", "unicast", "--clients=5", "--rate=50", "--duration=1s", "--protocol=" + encoding}, s.flags()...)
		o := hubbench(t, t.Context(), append(unicast, "--jwt-secret="+secret)...)
		if c := o.run(t).Counts; o.status != exitOK || c.Delivered != 50 {
			t.Errorf("%s: status %d, %+v", encoding, o.status, c)
		}
		if strings.Contains(fmt.Sprint(o.report.Environment.Args), secret) {
			t.Error("the report shows a secret")
		}
		o = hubbench(t, t.Context(), append(unicast, "--token-secret=another")...)
		if o.status != exitFailed || !strings.Contains(o.stderr, "refused: 101") {
			t.Errorf("%s: a wrong secret: status %d", encoding, o.status)
		}
		if o = hubbench(t, t.Context(), append(unicast, "--token=a.b.c")...); o.status != exitUsage || !strings.Contains(o.stderr, "--jwt-secret") {
			t.Errorf("%s: one token for many users: status %d", encoding, o.status)
		}
	}
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"sub": "42", "exp": 1 << 40}).SignedString([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	o := hubbench(t, t.Context(), append([]string{"run", "connect", "--clients=5", "--protocol=centrifugo", "--token=" + token}, s.flagsOf("connect")...)...)
	if o.status != exitOK || o.run(t).Connect.Ready != 5 {
		t.Errorf("one token for all: status %d", o.status)
	}
}

func TestTheURLHasThePathOfItsProtocol(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"plain": "/notification", "hub.v1": "/notification", "centrifugo": "/connection/websocket", "centrifugo-protobuf": "/connection/websocket",
		"pusher": "/app/app-key",
	} {
		a := &app{stdout: io.Discard, stderr: io.Discard}
		_, parsed, _, err := a.parse([]string{"run", "idle", "--protocol=" + name, "--pusher-app=" + pusherApp, "--json=" + filepath.Join(t.TempDir(), "x")})
		if err != nil {
			t.Fatal(err)
		}
		c := parsed.Target().(scenario).common()
		if err := c.validate(); err != nil || c.URL != "ws://127.0.0.1:3000"+guarded(want) {
			t.Errorf("%s: %s, %v", name, c.URL, err)
		}
	}
}
