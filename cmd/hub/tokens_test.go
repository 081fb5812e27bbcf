package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"wshub/session/token"
)

const apiKey = "0123456789abcdef"

var withKey = append([]string{"X-API-Key", apiKey}, asJSON...)

// startClosed runs a hub whose clients need tokens, which must not show up anywhere: the test ends with a
// look at its log and metrics.
func startClosed(t *testing.T, args ...string) *closedHub {
	h := &closedHub{t: t, hubInside: startInside(t, append([]string{"--jwt-secret=" + secret, "--api-key=" + apiKey, "--log-level=trace"}, args...)...)}
	h.secrets = []string{secret, apiKey}
	return h
}

type closedHub struct {
	t *testing.T
	*hubInside
	secrets []string // what must not be seen
}

// keepsSecrets fails if the log, metrics or index show a token or a part of it that is not public.
func (h *closedHub) keepsSecrets() {
	h.t.Helper()
	_, metrics, _ := ask(h.t, "GET", h.control+"/metrics", "")
	for _, s := range h.secrets {
		parts := strings.Split(s, ".")
		if last := parts[len(parts)-1]; strings.Contains(h.log.String()+metrics, last) {
			h.t.Errorf("%.20s… can be seen:\n%s", s, h.log)
		}
	}
}

// mint is a token by hub token.
func (h *closedHub) mint(args ...string) string {
	h.t.Helper()
	code, stdout, stderr := call(h.t, map[string]string{"HUB_JWT_SECRET": secret}, append([]string{"token"}, args...)...)
	if code != 0 {
		h.t.Fatalf("hub token ends with %d: %s", code, stderr)
	}
	return h.remember(strings.TrimSpace(stdout))
}

// issued is a token of user 42 that an issuer with the secret made at that time.
func (h *closedHub) issued(at time.Time) string {
	h.t.Helper()
	key, err := token.SecretSigner(secret)
	if err != nil {
		h.t.Fatal(err)
	}
	text, err := token.Mint(key, token.Grant{Subject: "42", TTL: time.Hour, Now: at})
	if err != nil {
		h.t.Fatal(err)
	}
	return h.remember(text)
}

func (h *closedHub) remember(token string) string {
	h.secrets = append(h.secrets, token)
	return token
}

// v1 connects a hub.v1 client with token in the header.
func (h *closedHub) v1(token string) *client {
	h.t.Helper()
	return dialWith(h.t, "v1", h.public, websocket.DialOptions{
		Subprotocols: []string{"hub.v1.json"}, HTTPHeader: http.Header{"Authorization": {"Bearer " + token}},
	})
}

func TestATokenLetsItsUserInByEachWay(t *testing.T) {
	h := startClosed(t)
	text := h.mint("--sub=42", "--ttl=1h", "--subscribe=news:*,room:{sub}", "--publish=chat:lobby")
	for name, o := range map[string]websocket.DialOptions{
		"header":      {Subprotocols: []string{"hub.v1.json"}, HTTPHeader: http.Header{"Authorization": {"Bearer " + text}}},
		"subprotocol": {Subprotocols: []string{"hub.v1.json", "bearer." + text}},
		"query":       {Subprotocols: []string{"hub.v1.json"}},
	} {
		url := h.public
		if name == "query" {
			url += "?token=" + text
		}
		c := dialWith(t, name, url, o)
		if welcome := c.want(`{"type":"welcome"`); !strings.Contains(welcome, `"user":"42"`) || !strings.Contains(welcome, `"token":"r1.`) {
			t.Errorf("%s: %s", name, welcome)
		}
		for topic, answer := range map[string]string{
			"news:sport": "subscribed", "room:42": "subscribed", "news": "error", "room:4": "error", "channel": "error", "user:4": "error", "$x": "error",
		} {
			c.say(fmt.Sprintf(`{"type":"subscribe","id":1,"topic":%q}`, topic))
			if got := c.want(`{"type":"` + answer + `","id":1`); answer == "error" && !strings.Contains(got, `"forbidden"`) {
				t.Errorf("%s: %s is answered %s", name, topic, got)
			}
		}
		c.say(`{"type":"publish","id":2,"topic":"chat:lobby","data":1}`)
		c.want(`{"type":"ok","id":2`)
		for _, topic := range []string{"news:sport", "user:42", "chat"} {
			c.say(fmt.Sprintf(`{"type":"publish","id":3,"topic":%q,"data":1}`, topic))
			c.want(`{"type":"error","id":3,"code":"forbidden"`)
		}
	}
	plain := dial(t, "plain", h.public+"?topic=news:sport&token="+text, "")
	eventually(t, func() error {
		ask(t, "POST", h.control+"/api/publish", `{"topic":"news:sport","data":{"try":1}}`, withKey...)
		if plain.count(`{"try":1}`) == 0 {
			return fmt.Errorf("the event does not arrive")
		}
		return nil
	})
	plain.say(`{"not":"allowed"}`)
	plain.want(`{"type":"error","code":"forbidden"`)
	for _, query := range []string{"?topic=secret&token=" + text, "?user=42&token=" + text} {
		if status, _, _ := ask(t, "GET", "http"+strings.TrimPrefix(h.public, "ws")+query, "", upgrade...); status != 403 {
			t.Errorf("%.20s… is answered %d", query, status)
		}
	}
	h.keepsSecrets()
}

// upgrade is a handshake's header.
var upgrade = []string{"Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="}

func TestWithoutAClaimTheDefaultsHold(t *testing.T) {
	for _, c := range []struct {
		args             []string
		follow, publish  string
		noFollow, noPubl string
	}{
		{nil, "channel", "", "news", "channel"},
		{[]string{"--default-subscribe=news,room:{sub}"}, "room:42", "", "channel", "room:42"},
		{[]string{"--default-publish=chat:*"}, "channel", "chat:a", "chat:a", "channel"},
	} {
		t.Run(fmt.Sprint(c.args), func(t *testing.T) {
			h := startClosed(t, c.args...)
			client := h.v1(h.mint("--sub=42"))
			client.say(`{"type":"subscribe","id":1,"topic":"` + c.follow + `"}`)
			client.want(`{"type":"subscribed","id":1`)
			client.say(`{"type":"subscribe","id":2,"topic":"` + c.noFollow + `"}`)
			client.want(`{"type":"error","id":2,"code":"forbidden"`)
			client.say(`{"type":"publish","id":3,"topic":"` + c.noPubl + `","data":1}`)
			client.want(`{"type":"error","id":3,"code":"forbidden"`)
			if c.publish != "" {
				client.say(`{"type":"publish","id":4,"topic":"` + c.publish + `","data":1}`)
				client.want(`{"type":"ok","id":4`)
			}
		})
	}
}

func TestWhoHasNoValidTokenIsTold(t *testing.T) {
	h := startClosed(t, "--jwt-skew=0s", "--jwt-aud=hub", "--jwt-iss=login")
	good := h.mint("--sub=42", "--jwt-aud=hub", "--jwt-iss=login")
	resume := h.v1(good).want(`{"type":"welcome"`)
	resume = resume[strings.Index(resume, "r1."):]
	code, other, _ := call(t, nil, "token", "--sub=42", "--jwt-aud=hub", "--jwt-iss=login", "--jwt-secret=another-"+secret)
	if code != 0 {
		t.Fatal("hub token fails")
	}
	for name, text := range map[string]string{
		"none":             "",
		"no token":         "x",
		"tampered":         good[:len(good)-4] + "AAAA",
		"another key's":    h.remember(strings.TrimSpace(other)),
		"another hub's":    h.mint("--sub=42", "--jwt-aud=other", "--jwt-iss=login"),
		"for nobody":       h.mint("--sub=42", "--jwt-iss=login"),
		"another issuer's": h.mint("--sub=42", "--jwt-aud=hub", "--jwt-iss=other"),
		"not yet valid":    h.issued(time.Now().Add(time.Minute)),
		"a resume token":   h.remember(resume[:strings.IndexByte(resume, '"')]),
		"the secret":       secret,
		"unsigned":         "eyJhbGciOiJub25lIn0.eyJzdWIiOiI0MiJ9.",
		"very long":        strings.Repeat("x", 7000),
	} {
		c := dialWith(t, name, h.public+"?token="+text, websocket.DialOptions{Subprotocols: []string{"hub.v1.json"}})
		if code := c.wantEnd(); code != 4001 {
			t.Errorf("%s: closed with %d", name, code)
		}
		if len(c.seen) > 0 {
			t.Errorf("%s: was told %q", name, c.seen)
		}
	}
	h.keepsSecrets()
}

func TestATokenExpiresAndAuthRenewsIt(t *testing.T) {
	t.Parallel()
	h := startClosed(t, "--jwt-skew=0s", "--auth-grace=3s")
	late := h.v1(h.issued(time.Now().Add(-time.Hour - time.Second)))
	if code := late.wantEnd(); code != 4002 || len(late.seen) > 0 {
		t.Errorf("with an expired token: closed with %d, told %q", code, late.seen)
	}
	short := h.mint("--sub=42", "--ttl=2s", "--subscribe=news,old")
	renewed, ended, plain := h.v1(short), h.v1(short), dial(t, "plain", h.public+"?topic=news&token="+short, "")
	for _, topic := range []string{"news", "old"} {
		renewed.say(fmt.Sprintf(`{"type":"subscribe","id":1,"topic":%q}`, topic))
		renewed.want(`{"type":"subscribed","id":1`)
	}
	renewed.want(`{"type":"error","code":"token_expired"`)
	for name, text := range map[string]string{"bad_token": "x", "forbidden": h.mint("--sub=43")} {
		renewed.say(fmt.Sprintf(`{"type":"auth","id":2,"token":%q}`, text))
		renewed.want(`{"type":"error","id":2,"code":"` + name + `"`)
	}
	renewed.say(fmt.Sprintf(`{"type":"auth","id":3,"token":%q}`, h.mint("--sub=42", "--subscribe=news,more")))
	renewed.want(`{"type":"ok","id":3,"expires_in":`)
	renewed.want(`{"type":"error","code":"forbidden","message":"the topic old is not followed any more: this topic is not for this session","retry":false,"topic":"old"}`)

	if code := plain.wantEnd(); code != 4002 {
		t.Errorf("a plain client is closed with %d", code)
	}
	ended.want(`{"type":"error","code":"token_expired"`)
	if code := ended.wantEnd(); code != 4002 {
		t.Errorf("without auth: closed with %d", code)
	}
	// The other's grace would be over by now, too.
	renewed.say(`{"type":"subscribe","id":4,"topic":"more"}`)
	renewed.want(`{"type":"subscribed","id":4`)
	renewed.say(`{"type":"unsubscribe","id":5,"topic":"old"}`)
	renewed.want(`{"type":"error","id":5,"code":"not_subscribed"`)
	h.keepsSecrets()
}

func TestWhoIsRevokedNeitherStaysNorComesBack(t *testing.T) {
	h := startClosed(t)
	old := h.issued(time.Now())
	c, plain := h.v1(old), dial(t, "plain", h.public+"?token="+old, "")
	other := h.v1(h.mint("--sub=43"))
	other.want(`{"type":"welcome"`)
	var welcome struct{ Session, Token string }
	if err := json.Unmarshal([]byte(c.want(`{"type":"welcome"`)), &welcome); err != nil {
		t.Fatal(err)
	}
	h.remember(welcome.Token)
	if status, answer, _ := ask(t, "POST", h.control+"/api/revoke", `{"user":"42"}`, withKey...); status != 200 {
		t.Fatalf("answered %d %s", status, answer)
	}
	for _, c := range []*client{c, plain, h.v1(old)} {
		if code := c.wantEnd(); code != 4001 {
			t.Errorf("%s is closed with %d", c.name, code)
		}
	}
	c = h.v1(h.issued(time.Now().Add(2 * time.Second))) // its issuer's clock is ahead, within the skew
	c.want(`{"type":"welcome"`)
	c.say(fmt.Sprintf(`{"type":"resume","id":1,"token":%q}`, welcome.Token))
	c.want(`{"type":"error","id":1,"code":"forbidden"`)
	c.say(fmt.Sprintf(`{"type":"auth","id":2,"token":%q}`, old))
	c.want(`{"type":"error","id":2,"code":"forbidden"`)
	other.say(`{"type":"ping","id":3}`)
	other.want(`{"type":"pong","id":3}`)

	if status, answer, _ := ask(t, "POST", h.control+"/api/disconnect", `{"user":"43"}`, withKey...); status != 200 {
		t.Fatalf("answered %d %s", status, answer)
	}
	if code := other.wantEnd(); code != 4003 {
		t.Errorf("closed with %d", code)
	}
	h.keepsSecrets()
}

// The key is in a file, and for another hub behind a URL, where a worker must fetch it first.
func TestTokensSignedByAKeyPair(t *testing.T) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err1 := x509.MarshalPKCS8PrivateKey(private)
	pkix, err2 := x509.MarshalPKIXPublicKey(&private.PublicKey)
	point, err3 := private.PublicKey.Bytes()
	if err1 != nil || err2 != nil || err3 != nil {
		t.Fatal(err1, err2, err3)
	}
	dir := t.TempDir()
	privateFile, publicFile := filepath.Join(dir, "private.pem"), filepath.Join(dir, "public.pem")
	for path, block := range map[string]pem.Block{
		privateFile: {Type: "PRIVATE KEY", Bytes: pkcs8}, publicFile: {Type: "PUBLIC KEY", Bytes: pkix},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(&block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		encode := base64.RawURLEncoding.EncodeToString
		fmt.Fprintf(w, `{"keys":[{"kty":"EC","crv":"P-256","use":"sig","kid":"k1","x":%q,"y":%q}]}`, encode(point[1:33]), encode(point[33:]))
	}))
	t.Cleanup(issuer.Close)
	code, text, stderr := call(t, nil, "token", "--sub=42", "--key-id=k1", "--jwt-key="+privateFile)
	if code != 0 {
		t.Fatalf("hub token ends with %d: %s", code, stderr)
	}
	for _, setting := range []string{"--jwt-key=" + publicFile, "--jwks-url=" + issuer.URL} {
		t.Run(setting, func(t *testing.T) {
			if code, stdout, stderr := call(t, nil, "token", "verify", strings.TrimSpace(text), setting); code != 0 || !strings.Contains(stdout, "is good") {
				t.Errorf("hub token verify ends with %d: %s%s", code, stdout, stderr)
			}
			h := startInside(t, setting)
			c := dial(t, setting, h.public+"?token="+strings.TrimSpace(text), "hub.v1.json")
			c.want(`{"type":"welcome"`)
			if code := dial(t, setting, h.public+"?token=x", "hub.v1.json").wantEnd(); code != 4001 {
				t.Errorf("%s: without a token: %d", setting, code)
			}
		})
	}
}

func TestHubTokenSaysWhatItLacks(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--sub=42"}, "--jwt-secret"},
		{[]string{"--jwt-secret=" + secret}, "--sub"},
		{[]string{"--sub=42", "--jwt-secret=short"}, "--jwt-secret"},
		{[]string{"--sub=42", "--jwt-key=/does/not/exist"}, "--jwt-key"},
		{[]string{"--sub=42", "--jwt-key=config.go"}, "--jwt-key"},
		{[]string{"--sub=", "--jwt-secret=" + secret}, "subject"},
		{[]string{"--sub=42", "--ttl=0s", "--jwt-secret=" + secret}, "1 s"},
		{[]string{"--sub=42", "--subscribe=a*b", "--jwt-secret=" + secret}, "subscribe"},
	} {
		code, stdout, stderr := call(t, nil, append([]string{"token"}, c.args...)...)
		if code != 2 || stdout != "" || !strings.Contains(stderr, c.want) || strings.Contains(stderr, secret) {
			t.Errorf("%q ends with %d: %s%s", c.args, code, stdout, stderr)
		}
	}
}

func TestAHubWithKeysIsNotOpen(t *testing.T) {
	key := "--jwt-secret=" + secret
	code, stdout, stderr := call(t, nil, "check", key, "--addr=0.0.0.0:3000")
	if code != 0 || strings.Contains(stdout, "pen hub") || strings.Contains(stdout, secret) || !strings.Contains(stdout, "--api-key") {
		t.Errorf("ends with %d: %s%s", code, stdout, stderr)
	}
	if code, _, stderr := call(t, nil, "check", key, "--trust-user-param"); code != 2 || !strings.Contains(stderr, "--trust-user-param") {
		t.Errorf("with --trust-user-param ends with %d: %s", code, stderr)
	}
	h := startInside(t, key)
	if status, _, _ := ask(t, "POST", h.control+"/api/publish", `{"topic":"news","data":1}`, asJSON...); status != 401 {
		t.Errorf("the API without a key answers %d", status)
	}
}
