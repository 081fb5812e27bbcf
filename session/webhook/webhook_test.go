package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"wshub/pubsub"
)

// The environment is read once in a process: it names a proxy from the beginning.
func TestMain(m *testing.M) {
	_ = os.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	goleak.VerifyTestMain(m)
}

// testSecret is that of Standard Webhooks' own examples.
const testSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

func mustSecret(t *testing.T, text string) Secret {
	t.Helper()
	s, err := ParseSecret(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustURL(t *testing.T, text string) *url.URL {
	t.Helper()
	u, err := ParseURL(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// hooked are webhooks to one URL, and what they log.
func hooked(t *testing.T, text string, cfg Config) (*Webhooks, *hook, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	cfg.URLs = []*url.URL{mustURL(t, text)}
	cfg.Log = zerolog.New(&log)
	if cfg.Secrets == nil {
		cfg.Secrets = []Secret{mustSecret(t, testSecret)}
	}
	w, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.hooks[0].to.CloseIdleConnections)
	return w, w.hooks[0], &log
}

// batch is one of n entries, of types in turn.
func batch(n int, types ...string) *pubsub.LifecycleBatch {
	b := &pubsub.LifecycleBatch{ID: "0123456789abcdef0123456789abcdef", Stream: "hub:{a}:lifecycle", Fence: 7, Since: time.Now()}
	for i := range n {
		event := fmt.Sprintf(`{"seq":%d,"type":%q,"user":"<42>","time":%d}`, i+1, types[i%len(types)], time.Now().UnixMilli())
		b.Entries = append(b.Entries, pubsub.LifecycleEntry{ID: fmt.Sprintf("5-%d", i), Event: []byte(event)})
	}
	return b
}

// received is a request as an endpoint got it.
type received struct {
	header http.Header
	raw    []byte
	Stream string
	Fence  uint64
	Lost   uint64
	Events []struct {
		Seq  int
		Type string
		User string
	}
}

// endpoint answers with what answer says, 204 without it.
func endpoint(t *testing.T, answer http.HandlerFunc) (*httptest.Server, <-chan received) {
	t.Helper()
	got := make(chan received, 100)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		in := received{header: r.Header, raw: text}
		if err := json.Unmarshal(text, &in); err != nil || r.Method != "POST" {
			t.Errorf("%s %s: %v", r.Method, text, err)
		}
		select {
		case got <- in:
		default: // enough for any test
		}
		if answer != nil {
			answer(w, r)
			return
		}
		w.WriteHeader(204)
	}))
	t.Cleanup(s.Close)
	return s, got
}

// The example is that of the libraries of Standard Webhooks.
func TestASignatureIsTheOneOfStandardWebhooks(t *testing.T) {
	secret := mustSecret(t, testSecret)
	at, text := time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`)
	const want = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
	if got := sign([]Secret{secret}, "msg_p5jXN8AQM9LWM0D4loKWxJek", at, text); got != want {
		t.Errorf("signed %s, want %s", got, want)
	}
	other := mustSecret(t, SecretPrefix+strings.Repeat("QUJD", 10))
	if got := sign([]Secret{other, secret}, "msg_p5jXN8AQM9LWM0D4loKWxJek", at, text); !strings.HasSuffix(got, " "+want) || !strings.HasPrefix(got, "v1,") {
		t.Errorf("with two secrets: %s", got)
	}
}

func TestASecretHasAForm(t *testing.T) {
	for _, good := range []string{testSecret, SecretPrefix + strings.Repeat("QUJD", 21), SecretPrefix + strings.Repeat("QUJD", 8) + "QQ==", SecretPrefix + strings.Repeat("QUJD", 8) + "QQ"} {
		if s := mustSecret(t, good); strings.Contains(fmt.Sprintf("%v %+v %#v", s, s, s), fmt.Sprint(s.key)) {
			t.Error("a secret is printed")
		}
	}
	for _, bad := range []string{"", "whsec_", strings.TrimPrefix(testSecret, SecretPrefix), SecretPrefix + "QUJD", SecretPrefix + strings.Repeat("QUJD", 22), testSecret + "-"} {
		if _, err := ParseSecret(bad); err == nil || bad != "" && bad != "whsec_" && strings.Contains(err.Error(), bad) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestABatchIsPostedWholeSignedAndWithItsFence(t *testing.T) {
	s, got := endpoint(t, nil)
	w, h, _ := hooked(t, s.URL+"/hook?key=abc", Config{AllowPrivate: true})
	b := batch(3, "user_online", "user_offline")
	b.Lost = 4
	if again := h.handle(t.Context(), b); again != 0 {
		t.Fatalf("again in %s", again)
	}
	in := <-got
	if in.Stream != b.Stream || in.Fence != 7 || in.Lost != 4 || len(in.Events) != 3 || in.Events[2].Seq != 3 || in.Events[1].Type != "user_offline" || in.Events[0].User != "<42>" {
		t.Errorf("got %s", in.raw)
	}
	var at int64
	fmt.Sscan(in.header.Get("webhook-timestamp"), &at)
	want := sign([]Secret{mustSecret(t, testSecret)}, b.ID, time.Unix(at, 0), in.raw)
	if in.header.Get("webhook-id") != b.ID || in.header.Get("webhook-fence") != "7" || in.header.Get("webhook-signature") != want ||
		in.header.Get("content-type") != "application/json" || time.Since(time.Unix(at, 0)).Abs() > time.Minute {
		t.Errorf("headers %v", in.header)
	}
	if s := w.Stats(); s.Events["delivered"] != 3 || s.Events["lost"] != 4 || s.Tries["delivered"] != 1 {
		t.Errorf("%+v", s)
	}
	if !bytes.HasSuffix(in.raw, []byte(string(b.Entries[2].Event)+"]}")) {
		t.Errorf("an entry is not posted word for word: %s", in.raw)
	}
	w.UseSecrets([]Secret{mustSecret(t, SecretPrefix+strings.Repeat("QUJD", 10)), mustSecret(t, testSecret)})
	h.handle(t.Context(), b)
	if header := (<-got).header.Get("webhook-signature"); strings.Count(header, "v1,") != 2 {
		t.Errorf("with two secrets: %s", header)
	}
}

func TestOnlyTheEventsAskedForArePostedAndAReset(t *testing.T) {
	s, got := endpoint(t, nil)
	_, h, _ := hooked(t, s.URL, Config{AllowPrivate: true, Events: []string{"user_offline"}})
	if again := h.handle(t.Context(), batch(5, "user_online", "session_opened")); again != 0 || len(got) != 0 {
		t.Errorf("again in %s, %d requests", again, len(got))
	}
	h.handle(t.Context(), batch(4, "user_online", "user_offline", Reset))
	if in := <-got; len(in.Events) != 2 || in.Events[0].Seq != 2 || in.Events[1].Seq != 3 {
		t.Errorf("got %s", in.raw)
	}
	b := batch(1, "user_online")
	b.Lost = 3
	h.handle(t.Context(), b)
	if in := <-got; len(in.Events) != 0 || in.Lost != 3 || !bytes.Contains(in.raw, []byte(`"events":[]`)) {
		t.Errorf("of a loss is told %s", in.raw)
	}
}

// bad are endpoints that do not take a batch.
func TestABatchIsTriedAgainWhateverGoesWrong(t *testing.T) {
	elsewhere, reached := endpoint(t, nil)
	code := func(n int) http.HandlerFunc { return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(n) } }
	for _, c := range []struct {
		text   string
		answer http.HandlerFunc
		kind   kind
		least  time.Duration
	}{
		{"500", code(500), status, 0}, {"400", code(400), status, 0}, {"404", code(404), status, 0}, {"410", code(410), status, 0},
		{"a redirect", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		}, redirected, 0},
		{"304", code(304), redirected, 0},
		{"503 with Retry-After", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "20")
			w.WriteHeader(503)
		}, status, 20 * time.Second},
		{"429 with a long Retry-After", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "9999")
			w.WriteHeader(429)
		}, status, time.Minute},
		{"a hang", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, timeout, 0},
		{"a break", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, connection, 0},
		{"a huge head", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X", strings.Repeat("x", 2*maxAnswer))
			w.WriteHeader(204)
		}, connection, 0},
	} {
		t.Run(c.text, func(t *testing.T) {
			s, got := endpoint(t, c.answer)
			w, h, log := hooked(t, s.URL+"?key=secret-key", Config{AllowPrivate: true})
			h.tryTime = 300 * time.Millisecond
			if c.kind != timeout {
				h.tryTime = tryTime
			}
			for try := range 3 {
				b := batch(2, "user_online")
				b.Tries = try
				again := h.handle(t.Context(), b)
				if least := max(firstWait<<try/2, c.least); again < least || again > longestWait {
					t.Errorf("try %d: again in %s, want %s", try, again, least)
				}
				if in := <-got; in.header.Get("webhook-id") != b.ID {
					t.Errorf("the ID is %s", in.header.Get("webhook-id"))
				}
			}
			if s := w.Stats(); s.Tries[kindNames[c.kind]] != 3 || s.Events["delivered"] != 0 || s.Events["dead"] != 0 {
				t.Errorf("%+v", s)
			}
			if text := log.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, "remedy") || strings.Contains(text, "secret-key") {
				t.Errorf("logged %s", text)
			}
		})
	}
	if len(reached) != 0 {
		t.Error("a redirect was followed")
	}
}

func TestAHugeAnswerOrOneWithoutEndIsNotRead(t *testing.T) {
	sent := make(chan int, 2)
	s, _ := endpoint(t, func(w http.ResponseWriter, r *http.Request) {
		n := 0
		for piece := make([]byte, 32<<10); n < 1<<30; n += len(piece) {
			if _, err := w.Write(piece); err != nil {
				break
			}
		}
		sent <- n
	})
	_, h, _ := hooked(t, s.URL, Config{AllowPrivate: true})
	if again := h.handle(t.Context(), batch(1, "user_online")); again != 0 {
		t.Errorf("200 counts as a failure: again in %s", again)
	}
	if n := <-sent; n == 1<<30 {
		t.Error("the answer was read to its end")
	}
	drip, _ := endpoint(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(200)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	_, h, _ = hooked(t, drip.URL, Config{AllowPrivate: true})
	h.tryTime = 200 * time.Millisecond
	if again := h.handle(t.Context(), batch(1, "user_online")); again != 0 {
		t.Errorf("200 counts as a failure: again in %s", again)
	}
}

func TestABatchThatWasTriedForLongIsGivenUpCountedAndLogged(t *testing.T) {
	s, _ := endpoint(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	w, h, log := hooked(t, s.URL, Config{AllowPrivate: true, Retry: time.Minute})
	b := batch(3, "user_online")
	b.Since, b.Tries = time.Now().Add(-50*time.Second), 9
	if again := h.handle(t.Context(), b); again <= 0 || again > 10*time.Second {
		t.Errorf("10 s before the end: again in %s", again)
	}
	b.Since = time.Now().Add(-61 * time.Second)
	if again := h.handle(t.Context(), b); again != 0 {
		t.Errorf("again in %s", again)
	}
	if s := w.Stats(); s.Events["dead"] != 3 || s.Tries["status"] != 2 {
		t.Errorf("%+v", s)
	}
	if text := log.String(); !strings.Contains(text, `"first":"5-0","last":"5-2"`) {
		t.Errorf("logged %s", text)
	}
	for range 10 {
		h.handle(t.Context(), b)
	}
	if n := strings.Count(log.String(), "given up"); n > 3 {
		t.Errorf("%d lines on dead letters", n)
	}
}

func TestOutagesAndTheirEndsAreLoggedInSamples(t *testing.T) {
	fails := true
	s, _ := endpoint(t, func(w http.ResponseWriter, _ *http.Request) {
		if fails {
			w.WriteHeader(500)
		}
	})
	_, h, log := hooked(t, s.URL, Config{AllowPrivate: true})
	for range 50 {
		fails = true
		h.handle(t.Context(), batch(1, "user_online"))
		h.handle(t.Context(), batch(1, "user_online"))
		fails = false
		h.handle(t.Context(), batch(1, "user_online"))
	}
	if text := log.String(); strings.Count(text, "does not take events") != toldOutages || strings.Count(text, `"failures":2`) != toldOutages {
		t.Errorf("logged %s", text)
	}
}

func TestATryThatEndsWithTheLeaseIsNoFailure(t *testing.T) {
	began := make(chan struct{})
	s, _ := endpoint(t, func(_ http.ResponseWriter, r *http.Request) { close(began); <-r.Context().Done() })
	w, h, log := hooked(t, s.URL, Config{AllowPrivate: true, Retry: time.Nanosecond})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-began; cancel() }()
	if again := h.handle(ctx, batch(1, "user_online")); again == 0 {
		t.Error("the batch counts as done")
	}
	if s := w.Stats(); s.Tries["canceled"] != 1 || s.Events["dead"] != 0 || log.Len() > 0 {
		t.Errorf("%+v, logged %s", s, log)
	}
}

func TestPrivateAddressesAreReachedOnlyIfAllowed(t *testing.T) {
	s, got := endpoint(t, nil)
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	w, h, log := hooked(t, "http://localhost:"+port, Config{})
	if again := h.handle(t.Context(), batch(1, "user_online")); again == 0 || len(got) > 0 || w.Stats().Tries["address"] != 1 {
		t.Errorf("localhost was reached: %v", w.Stats().Tries)
	}
	if !strings.Contains(log.String(), "--webhook-allow-private") {
		t.Errorf("logged %s", log)
	}
	for _, host := range []string{"127.0.0.1", "[::ffff:127.0.0.1]", "0.0.0.0", "10.0.0.1", "[::1]", "[fd00::1]"} {
		cfg := Config{URLs: []*url.URL{mustURL(t, "https://"+host+":"+port)}, Secrets: []Secret{mustSecret(t, testSecret)}}
		if _, err := New(cfg); !errors.Is(err, errAddress) {
			t.Errorf("%s: %v", host, err)
		}
		cfg.AllowPrivate = true
		if _, err := New(cfg); err != nil {
			t.Errorf("allowed: %s: %v", host, err)
		}
	}
}

// A proxy of the environment would be asked for 0.0.0.0, which is no loopback address to it.
func TestAProxyOfTheEnvironmentIsNotUsed(t *testing.T) {
	s, got := endpoint(t, nil)
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	_, h, _ := hooked(t, "http://0.0.0.0:"+port, Config{AllowPrivate: true})
	if again := h.handle(t.Context(), batch(1, "user_online")); again != 0 || len(got) != 1 {
		t.Errorf("again in %s, the endpoint got %d", again, len(got))
	}
}

func TestAnEndpointIsReachedByTLSIfItsCertificateIsTrusted(t *testing.T) {
	n := 0
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { n = r.ProtoMajor }))
	s.EnableHTTP2 = true
	s.Config.ErrorLog = nil
	s.StartTLS()
	defer s.Close()
	w, h, _ := hooked(t, s.URL, Config{AllowPrivate: true})
	if again := h.handle(t.Context(), batch(1, "user_online")); again == 0 || w.Stats().Tries["tls"] != 1 {
		t.Errorf("a stranger's certificate: %v", w.Stats().Tries)
	}
	_, h, _ = hooked(t, s.URL, Config{AllowPrivate: true, TLS: s.Client().Transport.(*http.Transport).TLSClientConfig})
	if again := h.handle(t.Context(), batch(1, "user_online")); again != 0 || n != 2 {
		t.Errorf("again in %s, HTTP/%d", again, n)
	}
}

// source hands batches to its readers, one after the other, as a broker does.
type source struct {
	mu      sync.Mutex
	readers []string
	ended   int
}

func (s *source) Deliver(ctx context.Context, r *pubsub.LifecycleReader) error {
	s.mu.Lock()
	s.readers = append(s.readers, r.Name)
	s.mu.Unlock()
	r.Handle(ctx, batch(1, "user_online"))
	<-ctx.Done()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended++
	return nil
}

func TestEachURLHasAReaderOfItsOwn(t *testing.T) {
	a, gotA := endpoint(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	b, gotB := endpoint(t, nil)
	w, err := New(Config{URLs: []*url.URL{mustURL(t, a.URL+"/1?k=1"), mustURL(t, b.URL+"/2")}, Secrets: []Secret{mustSecret(t, testSecret)}, AllowPrivate: true})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	src := &source{}
	ended := make(chan error)
	go func() { ended <- w.Run(ctx, src) }()
	<-gotA
	<-gotB // though a hangs
	cancel()
	if err := <-ended; err != nil || src.ended != 2 {
		t.Errorf("%v, %d of 2 ended", err, src.ended)
	}
	slices.Sort(src.readers)
	if len(slices.Compact(src.readers)) != 2 || !pubsub.ValidReader(src.readers[0]) {
		t.Errorf("readers %q", src.readers)
	}
	name := func(path string) string { return readerName(Endpoint{mustURL(t, a.URL+path), standard{}}) }
	if name("/1?k=2") != w.hooks[0].name || name("/2?k=1") == w.hooks[0].name {
		t.Error("a position is not kept by host and path")
	}
}

// initials is a form that posts the first letter of each type but of reset, behind its own name, and signs with that.
type initials string

func (f initials) Reader() string { return string(f) }

func (f initials) Body(b *pubsub.LifecycleBatch) (body []byte, events int) {
	for _, e := range b.Entries {
		var head struct{ Type string }
		_ = json.Unmarshal(e.Event, &head) // batch made it
		if head.Type != Reset {
			body = append(body, head.Type[0])
		}
	}
	if body == nil {
		return nil, 0
	}
	return append([]byte(f+" "), body...), len(body)
}

func (f initials) Sign(header http.Header, body []byte, _ time.Time) {
	header.Set("Signed", string(f)+" "+header.Get("Webhook-Id")+" "+string(body))
}

func TestAnEndpointGetsBatchesInItsForm(t *testing.T) {
	got := make(chan string, 10)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		got <- fmt.Sprintf("%s, %s, fence %s, %s", text, r.Header.Get("Signed"), r.Header.Get("Webhook-Fence"), r.Header.Get("Webhook-Signature"))
		w.WriteHeader(204)
	}))
	defer s.Close()
	u := mustURL(t, s.URL)
	w, err := New(Config{Others: []Endpoint{{u, initials("a")}, {u, initials("b")}}, AllowPrivate: true})
	if err != nil {
		t.Fatal(err)
	}
	if w.hooks[0].name == w.hooks[1].name {
		t.Error("two forms of one URL share a position")
	}
	b := batch(3, "user_online", Reset, "topic_occupied")
	b.Lost = 7
	for _, h := range w.hooks {
		defer h.to.CloseIdleConnections()
		if again := h.handle(t.Context(), b); again != 0 {
			t.Errorf("again in %s", again)
		}
		if want := fmt.Sprintf("%s ut, %[1]s %s %[1]s ut, fence 7, ", h.form.Reader(), b.ID); <-got != want {
			t.Errorf("got something else than %q", want)
		}
	}
	again := w.hooks[0].handle(t.Context(), batch(1, Reset))
	if stats := w.Stats(); again != 0 || len(got) != 0 || stats.Events["delivered"] != 4 || stats.Events["lost"] != 14 || stats.Tries["delivered"] != 2 {
		t.Errorf("a batch without an event: again in %s, %d requests, %+v", again, len(got), stats)
	}
}

func TestBadSettingsAreNamed(t *testing.T) {
	for _, text := range []string{"", "example.com", "ftp://example.com", "https://", "https://user@example.com", "https://u:password@example.com", "https://example.com/#x", "https://example.com/#", "mailto:a@b", "https://%zz"} {
		if _, err := ParseURL(text); err == nil || strings.Contains(err.Error(), "password@") {
			t.Errorf("%q: %v", text, err)
		}
	}
	good := func() Config {
		return Config{URLs: []*url.URL{mustURL(t, "https://example.com/a")}, Secrets: []Secret{mustSecret(t, testSecret)}}
	}
	for text, spoil := range map[string]func(*Config){
		"URLs":    func(c *Config) { c.URLs = nil },
		"secrets": func(c *Config) { c.Secrets = nil },
		"events":  func(c *Config) { c.Events = []string{"user_online", "nothing"} },
		"URL 2":   func(c *Config) { c.URLs = append(c.URLs, mustURL(t, "https://EXAMPLE.com/a?b=c")) },
	} {
		c := good()
		spoil(&c)
		if _, err := New(c); err == nil || !strings.HasPrefix(err.Error(), text) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if _, err := New(good()); err != nil {
		t.Error(err)
	}
	if _, err := ParseSecrets([]string{testSecret, "x"}); err == nil || !errors.Is(err, errSecret) || !strings.Contains(err.Error(), "secret 2") {
		t.Error(err)
	}
}
