package session

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"wshub/engine"
	"wshub/pubsub"
	"wshub/session/token"
)

const hubSecret = "0123456789abcdef0123456789abcdef"

// issuer is where a hub's key set is: a Transport that answers as answer says.
type issuer struct {
	asked  chan struct{} // gets one for each fetch
	answer func(*http.Request) (*http.Response, error)
}

func (i *issuer) RoundTrip(r *http.Request) (*http.Response, error) {
	select {
	case i.asked <- struct{}{}:
	default:
	}
	return i.answer(r)
}

// hangs answers when it is given up.
func hangs(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

func publishes(set string) func(*http.Request) (*http.Response, error) {
	return func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(set)), Request: r}, nil
	}
}

// keyPair is a new key, as what signs with it under a name and as the set that has it.
func keyPair(t testing.TB, kid string) (sign token.SigningKey, set string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err1 := x509.MarshalPKCS8PrivateKey(private)
	point, err2 := private.PublicKey.Bytes()
	sign, err3 := token.PEMSigner(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	return sign, fmt.Sprintf(`{"keys":[{"kty":"EC","crv":"P-256","kid":%q,"x":%q,"y":%q}]}`, kid, encode(point[1:33]), encode(point[33:]))
}

func mint(t testing.TB, key token.SigningKey, g token.Grant) string {
	t.Helper()
	if g.TTL == 0 {
		g.TTL = time.Hour
	}
	if g.Subject == "" {
		g.Subject = "42"
	}
	text, err := token.Mint(key, g)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func secretSigner(t testing.TB) token.SigningKey {
	t.Helper()
	key, err := token.SecretSigner(hubSecret)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// closed is a node on a broker of its own whose clients need a token, by the secret or by a key of the set.
func closed(t *testing.T, cfg Config, tokens token.Config) *node {
	t.Helper()
	tokens.Secrets = []string{hubSecret}
	v, err := token.NewVerifier(tokens)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Verifier = v
	ended := make(chan error, 1)
	go func() { ended <- v.Run(t.Context()) }()
	t.Cleanup(func() {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	hub, err := newHub(cfg, pubsub.NewMemory(pubsub.MemoryConfig{History: cfg.History, Presence: pubsub.PresenceConfig{Match: cfg.Presence}}))
	if err != nil {
		t.Fatal(err)
	}
	return run(t, hub, engine.Config{Pollers: spread})
}

// knock sends a handshake with a token and does not wait for its answer.
func (n *node) knock(text string) {
	n.t.Helper()
	c, err := net.Dial("tcp", n.server.Addr().String())
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = c.Close() })
	_, err = fmt.Fprintf(c, "GET /notification HTTP/1.1\r\nHost: hub\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nAuthorization: Bearer %s\r\n\r\n", text)
	if err != nil {
		n.t.Fatal(err)
	}
}

func TestAHangingKeySetHoldsUpNobodyWhoseKeyIsKnown(t *testing.T) {
	forger, _ := keyPair(t, "")
	is := &issuer{asked: make(chan struct{}, 1), answer: hangs}
	everything := token.Grant{Subscribe: []string{"*"}, Publish: []string{"*"}}
	n := closed(t, Config{}, token.Config{JWKS: "https://login.example/keys", Transport: is, JWKSTimeout: time.Minute})
	c := n.v1("?token=" + mint(t, secretSigner(t), everything))
	for i := range 50 {
		n.knock(mint(t, forger, token.Grant{KeyID: fmt.Sprint("made up ", i)}))
	}
	n.eventually("the strangers are there", func() bool { return n.server.Stats().Sockets == 51 })
	<-is.asked
	for range 100 { // each in less than the time that a fetch hangs, as is read
		c.send(`{"type":"publish","id":1,"topic":"news","data":1}`)
		if got := c.hear(); got.Type != "ok" && got.Type != "subscribed" {
			t.Fatalf("%+v", got)
		}
	}
	n.v1("?token=" + mint(t, secretSigner(t), everything))
}

func TestAuthWhileTheKeySetIsAwayIsToldToTryAgain(t *testing.T) {
	t.Parallel()
	forger, _ := keyPair(t, "")
	for name, answer := range map[string]func(*http.Request) (*http.Response, error){
		"hangs": hangs,
		"fails": func(*http.Request) (*http.Response, error) { return nil, errors.New("down") },
	} {
		is := &issuer{answer: answer}
		n := closed(t, Config{}, token.Config{JWKS: "https://login.example/keys", Transport: is, JWKSTimeout: 100 * time.Millisecond})
		c := n.v1("?token=" + mint(t, secretSigner(t), token.Grant{}))
		for i := range 2 { // before a fetch has ended, and right after
			c.send(fmt.Sprintf(`{"type":"auth","id":%d,"token":%q}`, i, mint(t, forger, token.Grant{KeyID: "1"})))
			for got := c.hear(); got.Type != "error" || got.Code != Unavailable; got = c.hear() {
				if got.Type != "subscribed" {
					t.Fatalf("%s, %d: %+v", name, i, got)
				}
			}
		}
	}
}

func TestOneAuthOfASessionWaitsAtATime(t *testing.T) {
	signer, set := keyPair(t, "1")
	release := make(chan struct{})
	is := &issuer{answer: func(r *http.Request) (*http.Response, error) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
		return publishes(set)(r)
	}}
	n := closed(t, Config{}, token.Config{JWKS: "https://login.example/keys", Transport: is, JWKSTimeout: time.Minute})
	c := n.v1("?token=" + mint(t, secretSigner(t), token.Grant{}))
	c.send(`{"type":"ping"}`)
	c.want(`{"type":"pong"}`)
	c.want(`{"type":"subscribed","topic":"user:42"}`)
	c.send(fmt.Sprintf(`{"type":"auth","id":1,"token":%q}`, mint(t, signer, token.Grant{KeyID: "1", Subscribe: []string{"later"}})))
	c.send(fmt.Sprintf(`{"type":"auth","id":2,"token":%q}`, mint(t, secretSigner(t), token.Grant{})))
	c.wantError(Busy)
	close(release)
	c.wantRenewed(1)
	c.send(`{"type":"subscribe","id":3,"topic":"later"}`)
	c.want(`{"type":"subscribed","id":3,"topic":"later"}`)
	c.send(fmt.Sprintf(`{"type":"auth","id":4,"token":%q}`, mint(t, secretSigner(t), token.Grant{})))
	c.wantRenewed(4)
}

func TestATokenWithinTheSkewIsGoodUntilTheSkewIsOver(t *testing.T) {
	t.Parallel()
	const skew = 2 * time.Second
	n := closed(t, Config{}, token.Config{Skew: skew})
	issued := time.Now().Add(-time.Second)
	c := n.dial("?token=" + mint(t, secretSigner(t), token.Grant{Now: issued, TTL: time.Second}))
	c.wantClose(4002)
	if over := issued.Truncate(time.Second).Add(time.Second + skew); time.Now().Before(over) {
		t.Errorf("cut %s before", time.Until(over))
	}
}

// A new key, and a stranger's unknown one just before.
func TestAKeyJustAddedLetsItsTokensInThoughAStrangerCameBefore(t *testing.T) {
	forger, _ := keyPair(t, "")
	_, first := keyPair(t, "1")
	signer, second := keyPair(t, "2")
	set := make(chan string, 1)
	set <- first
	is := &issuer{answer: func(r *http.Request) (*http.Response, error) {
		text := <-set
		set <- text
		return publishes(text)(r)
	}}
	n := closed(t, Config{}, token.Config{JWKS: "https://login.example/keys", Transport: is, JWKSRefetch: 100 * time.Millisecond})
	n.dial("?token=" + mint(t, forger, token.Grant{KeyID: "made up"})).wantClose(4001)
	<-set
	set <- second
	for range 3 {
		n.v1("?token=" + mint(t, signer, token.Grant{KeyID: "2"}))
	}
}

func TestWhoFindsNoRoomToWaitForItsKeyIsToldToComeBack(t *testing.T) {
	forger, _ := keyPair(t, "")
	is := &issuer{answer: hangs}
	n := closed(t, Config{}, token.Config{JWKS: "https://login.example/keys", Transport: is, JWKSTimeout: time.Minute})
	c := n.v1("?token=" + mint(t, secretSigner(t), token.Grant{}))
	c.send(`{"type":"ping"}`)
	c.want(`{"type":"pong"}`)
	c.want(`{"type":"subscribed","topic":"user:42"}`)
	long := mint(t, forger, token.Grant{KeyID: "made up", Audience: []string{strings.Repeat("x", 5000)}})
	for range 700 { // 4 MiB of 7 KB each are some 600
		n.knock(long)
	}
	n.eventually("there is no room any more", func() bool { return n.hub.Stats().Dropped["key_wait_full"] > 0 })
	c.send(fmt.Sprintf(`{"type":"auth","id":1,"token":%q}`, long))
	c.wantError(Busy)
	_, resp, err := websocket.Dial(t.Context(), "ws://"+n.server.Addr().String()+"/notification?token="+long, nil)
	if err == nil || resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("%v, %v", resp, err)
	}
	n.v1("?token=" + mint(t, secretSigner(t), token.Grant{})) // whose key is known has room
}
