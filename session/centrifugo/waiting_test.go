package centrifugo_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	pb "github.com/centrifugal/protocol"
	"github.com/golang-jwt/jwt/v5"

	"wshub/engine"
	"wshub/pubsub"
	"wshub/session"
	"wshub/session/centrifugo"
	"wshub/session/token"
)

// claimed is a token of 42 with these claims besides.
func claimed(t testing.TB, more jwt.MapClaims) string {
	t.Helper()
	m := jwt.MapClaims{"sub": "42", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix()}
	maps.Copy(m, more)
	text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, m).SignedString([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// issuer is where a hub's key set is. Its one key comes when it is released.
type issuer struct {
	key      *ecdsa.PrivateKey
	set      string
	released chan struct{}
}

func newIssuer(t testing.TB) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	set := fmt.Sprintf(`{"keys":[{"kty":"EC","crv":"P-256","kid":"1","x":%q,"y":%q}]}`, encode(point[1:33]), encode(point[33:]))
	return &issuer{key, set, make(chan struct{})}
}

// RoundTrip implements http.RoundTripper.
func (i *issuer) RoundTrip(r *http.Request) (*http.Response, error) {
	select {
	case <-i.released:
		return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(i.set)), Request: r}, nil
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
}

func (i *issuer) verifier(t testing.TB) *token.Verifier {
	return verifier(t, token.Config{JWKS: "https://login.example/keys", Transport: i, JWKSTimeout: time.Minute})
}

// claimed is a token of 42 that only the key set can judge.
func (i *issuer) claimed(t testing.TB, more jwt.MapClaims) string {
	t.Helper()
	m := jwt.MapClaims{"sub": "42", "exp": time.Now().Add(time.Hour).Unix()}
	maps.Copy(m, more)
	unsigned := jwt.NewWithClaims(jwt.SigningMethodES256, m)
	unsigned.Header["kid"] = "1"
	text, err := unsigned.SignedString(i.key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// reluctant is a broker that follows a topic when it is let, and fails where it is to.
type reluctant struct {
	*pubsub.Memory
	control func(message []byte) // gets what nodes are told
	mu      sync.Mutex
	fails   map[string]error
	holds   map[string]bool
	held    map[string][]func()
}

func newReluctant() *reluctant {
	return &reluctant{Memory: pubsub.NewMemory(pubsub.MemoryConfig{History: history}),
		fails: map[string]error{}, holds: map[string]bool{}, held: map[string][]func(){}}
}

// Follow implements session.Broker.
func (r *reluctant) Follow(topic string, loop int, done func(error)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	follow := func() {
		if err := r.fails[topic]; err != nil {
			done(err)
		} else {
			r.Memory.Follow(topic, loop, done)
		}
	}
	if r.holds[topic] {
		r.held[topic] = append(r.held[topic], follow)
		return
	}
	follow()
}

// Notify implements session.Broker.
func (r *reluctant) Notify(_ context.Context, _ string, message []byte) error {
	r.control(message)
	return nil
}

// hold keeps who wants to follow topic waiting, fail has them fail, nil for not any more.
func (r *reluctant) hold(topic string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.holds[topic] = true
}

func (r *reluctant) fail(topic string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fails[topic] = err
}

// release lets those who wait for topic go on.
func (r *reluctant) release(topic string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.holds[topic] = false
	for _, follow := range r.held[topic] {
		follow()
	}
	r.held[topic] = nil
}

// waits reports whether somebody waits for topic.
func (r *reluctant) waits(topic string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.held[topic]) > 0
}

// A channel is left although the token to follow it is still being checked: nothing is followed behind that.
func TestAChannelIsLeftWhileItsTokenIsChecked(t *testing.T) {
	both(t, func(t *testing.T, binary bool) {
		is := newIssuer(t)
		n := start(t, session.Config{Verifier: is.verifier(t)}, engine.Config{})
		c, _ := n.connect(binary, claimed(t, nil))
		raw := is.claimed(t, jwt.MapClaims{"channel": "$a"})
		sub := &pb.Command{Subscribe: &pb.SubscribeRequest{Channel: "$a", Token: raw}}
		first := c.send(sub)
		c.wantError(105, &pb.Command{Subscribe: &pb.SubscribeRequest{Channel: "$a", Token: raw}}) // one at a time
		left := c.send(&pb.Command{Unsubscribe: &pb.UnsubscribeRequest{Channel: "$a"}})
		if r := c.hear(); r.Id != first || r.Error == nil || !r.Error.Temporary {
			t.Fatalf("%+v", r)
		}
		if r := c.hear(); r.Id != left || r.Unsubscribe == nil {
			t.Fatalf("%+v", r)
		}
		refreshed := c.send(&pb.Command{SubRefresh: &pb.SubRefreshRequest{Channel: "$a", Token: raw}})
		if r := c.hear(); r.Id != refreshed || r.Error == nil || r.Error.Code != 103 {
			t.Fatalf("%+v", r)
		}
		again := c.send(&pb.Command{Subscribe: &pb.SubscribeRequest{Channel: "$a", Token: raw}})
		other := c.send(&pb.Command{Subscribe: &pb.SubscribeRequest{Channel: "$b", Token: is.claimed(t, jwt.MapClaims{"channel": "$b"})}},
			&pb.Command{Unsubscribe: &pb.UnsubscribeRequest{Channel: "$b"}})
		for _, id := range []uint32{other, other + 1} {
			if r := c.hear(); r.Id != id {
				t.Fatalf("%+v", r)
			}
		}
		close(is.released)
		if r := c.hear(); r.Id != again || r.Subscribe == nil || !r.Subscribe.Expires {
			t.Fatalf("%+v", r)
		}
		n.publish("$a", `1`)
		n.publish("$b", `2`)
		c.wantPub("$a", `1`)
		n.publish("$a", `3`)
		c.wantPub("$a", `3`)
		c.wantError(103, &pb.Command{Subscribe: &pb.SubscribeRequest{Channel: "$b"}}) // no right stays
	})
}

// A subscription that ends on the way because a token has expired is tried again with another one.
func TestATokenThatExpiresOnTheWayIsToldSo(t *testing.T) {
	t.Parallel()
	broker := newReluctant()
	n := startOn(t, session.Config{Verifier: verifier(t, token.Config{Skew: -1}), AuthGrace: time.Millisecond, MessageRate: -1}, engine.Config{}, broker)
	c, _ := n.connect(false, claimed(t, nil))
	broker.hold("$a")
	id := c.send(&pb.Command{Subscribe: &pb.SubscribeRequest{Channel: "$a", Token: claimed(t, jwt.MapClaims{"channel": "$a", "exp": time.Now().Add(1500 * time.Millisecond).Unix()})}})
	if r := c.hear(); r.Id != id || r.Error == nil || r.Error.Code != 109 {
		t.Fatalf("%+v", r)
	}
	broker.release("$a")

	c, _ = n.connect(false, claimed(t, jwt.MapClaims{"exp": time.Now().Add(1500 * time.Millisecond).Unix(), "topics": []string{"*"}}))
	n.eventually("the connection's token is over", func() bool {
		id := c.send(&pb.Command{Subscribe: &pb.SubscribeRequest{Channel: "news"}})
		r := c.hear()
		if r.Id != id || r.Error != nil && r.Error.Code != 109 && r.Error.Code != 105 {
			t.Fatalf("%+v", r)
		}
		return r.Error != nil && r.Error.Code == 109
	})
}

// Nothing is answered before connect, also not what is over the rate.
func TestNothingIsAnsweredBeforeConnect(t *testing.T) {
	both(t, func(t *testing.T, binary bool) {
		broker := newReluctant()
		broker.hold("slow")
		n := startOn(t, session.Config{Verifier: verifier(t, token.Config{}), MessageBurst: 4, MessageRate: 1}, engine.Config{}, broker)
		c := n.dial(binary)
		connect := c.send(&pb.Command{Connect: &pb.ConnectRequest{Token: claimed(t, jwt.MapClaims{"channels": []string{"slow"}})}})
		n.eventually("connect waits", func() bool { return broker.waits("slow") })
		for range 7 {
			c.send(&pb.Command{Presence: &pb.PresenceRequest{Channel: "news"}})
		}
		n.eventually("all have come", func() bool { return n.hub.Stats().Messages == 7 })
		broker.release("slow")
		for id := connect; id < connect+8; id++ {
			if r := c.hear(); r.Id != id {
				t.Fatalf("%+v, want %d", r, id)
			}
		}
	})
}

func TestAProtobufClientPublishesOnlyJSON(t *testing.T) {
	n := start(t, session.Config{}, engine.Config{})
	c, _ := n.connect(true, "")
	c.wantError(107, &pb.Command{Publish: &pb.PublishRequest{Channel: "news", Data: pb.Raw("\"\xff\"")}})
	c.wantError(107, &pb.Command{Publish: &pb.PublishRequest{Channel: "news", Data: pb.Raw("hello")}})
}

// A client that sent connect in time does not pay for the hub's waiting: nobody would come back after 3502.
func TestWhoSentConnectIsNotStale(t *testing.T) {
	t.Cleanup(centrifugo.SetConnectTime(200 * time.Millisecond))
	is := newIssuer(t)
	n := start(t, session.Config{Verifier: is.verifier(t)}, engine.Config{})
	c := n.dial(false)
	id := c.send(&pb.Command{Connect: &pb.ConnectRequest{Token: is.claimed(t, nil)}})
	n.dial(false).wantClose(3502) // it came later
	expired := n.dial(false)
	expired.wantError(109, &pb.Command{Connect: &pb.ConnectRequest{Token: claimed(t, jwt.MapClaims{"exp": time.Now().Add(-time.Hour).Unix()})}})
	expired.wantClose(3502) // nothing more will be done for it
	close(is.released)
	if r := c.hear(); r.Id != id || r.Connect == nil {
		t.Fatalf("%+v", r)
	}
}

// A stream whose token waits for its key is not ended for the length of its connect: nobody would come back after 3501.
func TestALongConnectWaitsForItsKey(t *testing.T) {
	streams(t, func(t *testing.T, way string) {
		is := newIssuer(t)
		n := start(t, session.Config{Verifier: is.verifier(t)}, engine.Config{})
		c := n.open(way, &pb.Command{Connect: &pb.ConnectRequest{Token: is.claimed(t, jwt.MapClaims{"padding": strings.Repeat("x", 4<<10)})}})
		n.eventually("it is open", func() bool { return n.server.Stats().Open == 1 })
		n.turn()
		close(is.released)
		if r := c.hear(); r.Connect == nil {
			t.Errorf("%+v", r)
		}
	})
}

// A stream that was refused stays for a while: without the body that it was asked for by.
func TestARefusedStreamHoldsNoBody(t *testing.T) {
	const clients, size = 200, 60_000
	n := closed(t, session.Config{})
	body := (&pb.Command{Id: 1, Connect: &pb.ConnectRequest{
		Token: claimed(t, jwt.MapClaims{"exp": time.Now().Add(-time.Hour).Unix()}), Data: pb.Raw(`"` + strings.Repeat("x", size) + `"`),
	}}).AppendJSON(nil)
	request := fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: hub\r\nContent-Length: %d\r\n\r\n%s", centrifugo.HTTPStreamPath, len(body), body)
	before := heap()
	for range clients {
		conn, err := net.Dial("tcp", n.server.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		if _, err := conn.Write(request); err != nil {
			t.Fatal(err)
		}
		for answer := ""; !strings.Contains(answer, `"code":109`); {
			var b [512]byte
			k, err := conn.Read(b[:])
			if answer += string(b[:k]); err != nil {
				t.Fatalf("%q, %v", answer, err)
			}
		}
	}
	n.turn()
	if grown := heap() - before; grown > clients*size/2 {
		t.Errorf("%d bytes for each", grown/clients)
	}
}

// heap is what lives, in bytes.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// Whoever may wait for long keeps little: of a connect only the positions that a client can have.
func TestAConnectNamesAsManyChannelsAsASessionMayFollow(t *testing.T) {
	n := start(t, session.Config{MaxTopics: 3}, engine.Config{})
	subs := map[string]*pb.SubscribeRequest{"another": {}, "and another": {}}
	for i := range 4 {
		subs[fmt.Sprint(i)] = &pb.SubscribeRequest{Recover: true}
	}
	connect := &pb.Command{Connect: &pb.ConnectRequest{Subs: subs}}
	if r := n.dial(false).ask(connect); r.Connect == nil {
		t.Errorf("%+v", r)
	}
	subs["too many"] = &pb.SubscribeRequest{Recover: true}
	c := n.dial(false)
	c.send(connect)
	c.wantClose(3501)
}

// A topic that can't be followed when connect is answered is followed later, and told by a push; its place is not known then, so
// nothing is recovered from it.
func TestServerSideChannelsAreTriedForAgain(t *testing.T) {
	both(t, func(t *testing.T, binary bool) {
		broker := newReluctant()
		n := startOn(t, session.Config{Verifier: verifier(t, token.Config{})}, engine.Config{}, broker)
		n.publish("a", `0`)
		broker.fail("a", fmt.Errorf("%w: for a while", pubsub.ErrUnavailable))
		broker.fail("user:42", fmt.Errorf("%w: for a while", pubsub.ErrUnavailable))
		raw := claimed(t, jwt.MapClaims{"channels": []string{"a", "b"}})
		c, result := n.connect(binary, raw)
		if len(result.Subs) != 1 || result.Subs["b"] == nil {
			t.Fatalf("%+v", result.Subs)
		}
		told := map[string]*pb.Subscribe{}
		for len(told) < 2 {
			r := c.hear()
			if r.Push == nil || r.Push.Subscribe == nil {
				t.Fatalf("%+v", r)
			}
			told[r.Push.Channel] = r.Push.Subscribe
		}
		if told["a"] == nil || told["user:42"] == nil {
			t.Fatalf("%+v", told)
		}
		again := &pb.Command{Connect: &pb.ConnectRequest{Token: raw, Subs: map[string]*pb.SubscribeRequest{
			"a": {Recover: true, Epoch: told["a"].Epoch, Offset: told["a"].Offset},
		}}}
		c = n.dial(binary) // a channel that is missing in the answer is left, and its position lost
		c.send(again)
		c.wantClose(3004)
		broker.fail("a", nil)
		c = n.dial(binary)
		r := c.ask(again)
		if r.Connect == nil || r.Connect.Subs["a"] == nil || !r.Connect.Subs["a"].WasRecovering || r.Connect.Subs["a"].Recovered {
			t.Fatalf("%+v", r)
		}
	})
}

// A client whose token expires before connect is answered comes back with another one, not without its channels.
func TestATokenThatExpiresBeforeConnectIsAnswered(t *testing.T) {
	t.Parallel()
	broker := newReluctant()
	broker.hold("a")
	n := startOn(t, session.Config{Verifier: verifier(t, token.Config{Skew: -1})}, engine.Config{}, broker)
	c := n.dial(false)
	expires := time.Now().Add(1500 * time.Millisecond).Truncate(time.Second)
	c.send(&pb.Command{Connect: &pb.ConnectRequest{Token: claimed(t, jwt.MapClaims{"channels": []string{"a"}, "exp": expires.Unix()})}})
	n.eventually("it has expired", func() bool { return broker.waits("a") && time.Now().After(expires) })
	broker.release("a")
	c.wantClose(3005)
}

// A backend's orders that come before connect is answered are done behind the answer: SDKs forget the channels that it does
// not name.
func TestOrdersWaitForConnect(t *testing.T) {
	both(t, func(t *testing.T, binary bool) {
		broker := newReluctant()
		broker.hold("a")
		n := startOn(t, session.Config{Verifier: verifier(t, token.Config{})}, engine.Config{}, broker)
		broker.control = n.hub.Control
		c := n.dial(binary)
		id := c.send(&pb.Command{Connect: &pb.ConnectRequest{Token: claimed(t, jwt.MapClaims{"channels": []string{"a", "c"}})}})
		n.eventually("connect waits", func() bool { return broker.waits("a") })
		target := session.Target{User: "42"}
		order := func(err error) {
			if err != nil {
				t.Fatal(err)
			}
		}
		order(n.hub.Subscribe(t.Context(), target, session.Following{Topic: "b"}))
		order(n.hub.Subscribe(t.Context(), target, session.Following{Topic: "d"}))
		order(n.hub.Unsubscribe(t.Context(), target, "d"))
		order(n.hub.Unsubscribe(t.Context(), target, "c"))
		n.eventually("the orders are done", func() bool { return n.hub.Stats().Topics == 2 })
		n.publish("b", `1`)
		broker.release("a")
		r := c.hear()
		if r.Id != id || r.Connect == nil || len(r.Connect.Subs) != 2 {
			t.Fatalf("%+v", r)
		}
		if r := c.hear(); r.Push == nil || r.Push.Channel != "b" || r.Push.Subscribe == nil {
			t.Fatalf("%+v", r)
		}
		n.publish("b", `2`)
		c.wantPub("b", `2`)
		n.publish("a", `3`)
		c.wantPub("a", `3`)
	})
}
