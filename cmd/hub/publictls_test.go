package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/rs/zerolog"

	"wshub/pubsub/redistest/drills"
)

// authority signs certificates of tests.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
	file string // its certificate in PEM
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, pool: x509.NewCertPool(), file: filepath.Join(t.TempDir(), "ca.pem")}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err == nil {
		a.cert, err = x509.ParseCertificate(der)
	}
	if err != nil {
		t.Fatal(err)
	}
	a.key = key
	a.pool.AddCert(a.cert)
	write(t, a.file, asPEM("CERTIFICATE", der))
	return a
}

func asPEM(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// sign writes a certificate for these names and 127.0.0.1, good for an hour, and its key. kind is "rsa" or "ecdsa".
func (a *authority) sign(certFile, keyFile, kind string, serial int64, names ...string) {
	a.t.Helper()
	var private crypto.Signer
	var err error
	if kind == "rsa" {
		private, err = rsa.GenerateKey(rand.Reader, 2048)
	} else {
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: names,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, private.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err = errors.Join(err, os.MkdirAll(filepath.Dir(certFile), 0o755)); err != nil {
		a.t.Fatal(err)
	}
	write(a.t, certFile, asPEM("CERTIFICATE", der))
	write(a.t, keyFile, asPEM("PRIVATE KEY", secret))
}

// pair writes a certificate for hub.example in a directory of its own.
func (a *authority) pair() (cert, key string) {
	a.t.Helper()
	dir := a.t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	a.sign(cert, key, "ecdsa", 1, "hub.example")
	return cert, key
}

// trusting is a client's TLS.
func (a *authority) trusting() *tls.Config { return &tls.Config{RootCAs: a.pool} }

// dialTLS opens a WebSocket connection over TLS that ends with the test.
func dialTLS(t *testing.T, url string, cfg *tls.Config) *websocket.Conn {
	t.Helper()
	ws, err := tryTLS(t.Context(), url, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ws.CloseNow() })
	return ws
}

func tryTLS(ctx context.Context, url string, cfg *tls.Config) (*websocket.Conn, error) {
	transport := &http.Transport{TLSClientConfig: cfg, DisableKeepAlives: true}
	url = strings.Replace(url, "ws://", "wss://", 1)
	ws, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{Subprotocols: []string{"hub.v1.json"}, HTTPClient: &http.Client{Transport: transport}})
	return ws, err
}

// address is the host and port of a URL.
func address(url string) string {
	_, rest, _ := strings.Cut(url, "://")
	host, _, _ := strings.Cut(rest, "/")
	return host
}

// wantRead reads the next message, which must contain want.
func wantRead(t *testing.T, ws *websocket.Conn, want string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, got, err := ws.Read(ctx)
	if err != nil || !strings.Contains(string(got), want) {
		t.Fatalf("read %s, %v; want %s", got, err, want)
	}
	return string(got)
}

func say(t *testing.T, ws *websocket.Conn, text string) {
	t.Helper()
	if err := ws.Write(t.Context(), websocket.MessageText, []byte(text)); err != nil {
		t.Fatal(err)
	}
}

func TestThePublicPortSpeaksTLS(t *testing.T) {
	a := newAuthority(t)
	cert, key := a.pair()
	h := startInside(t, "--tls-cert="+cert, "--tls-key="+key)
	ws := dialTLS(t, h.public, a.trusting())
	wantRead(t, ws, `"welcome"`)
	say(t, ws, `{"type":"subscribe","id":1,"topic":"news"}`)
	wantRead(t, ws, `"subscribed"`)
	if status, _, _ := ask(t, "POST", h.control+"/api/publish", `{"topic":"news","data":{"over":"tls"}}`, "Content-Type", "application/json"); status != 200 {
		t.Errorf("the publication is answered %d", status)
	}
	wantRead(t, ws, `{"over":"tls"}`)

	res, err := http.Get("http://" + address(h.public) + "/hub.js")
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != 400 {
		t.Errorf("plain HTTP is answered %d", res.StatusCode)
	}
	secure := &http.Client{Transport: &http.Transport{TLSClientConfig: a.trusting(), DisableKeepAlives: true}}
	if res, err = secure.Get("https://" + address(h.public) + "/hub.js"); err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != 200 {
		t.Errorf("/hub.js is answered %d", res.StatusCode)
	}
	eventually(t, func() error {
		_, text, _ := ask(t, "GET", h.control+"/metrics", "")
		for _, want := range []string{`wshub_tls_handshakes_total{outcome="ok"} 2`, `wshub_tls_handshakes_total{outcome="plain_text"} 1`, "wshub_certificate_expiry_seconds 3"} {
			if !strings.Contains(text, want) {
				return fmt.Errorf("/metrics lacks %s", want)
			}
		}
		return nil
	})
}

// serialAt is the serial number of the certificate that a client is shown.
func serialAt(t *testing.T, addr, name string, pool *x509.CertPool) int64 {
	t.Helper()
	conn, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: pool, ServerName: name})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

// inDir are the certificates of a directory.
func inDir(t *testing.T, dir string) *certificates {
	t.Helper()
	certs, err := newCertificates("public", func() ([]pairFiles, error) { return pairsIn(dir) }, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	return certs
}

// wantSerial looks at the certificate for a name.
func wantSerial(t *testing.T, certs *certificates, name string, serial int64) {
	t.Helper()
	cert, err := certs.get(&tls.ClientHelloInfo{ServerName: name})
	if err != nil || cert.Leaf.SerialNumber.Int64() != serial {
		t.Errorf("%q gets %d, %v; want %d", name, cert.Leaf.SerialNumber, err, serial)
	}
}

func TestANameChoosesItsCertificate(t *testing.T) {
	a := newAuthority(t)
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	a.sign(in("a.crt"), in("a.key"), "ecdsa", 1, "a.example")
	a.sign(in("b.pem"), in("b.key"), "ecdsa", 2, "b.example", "*.b.example")
	a.sign(in("c.example/fullchain.pem"), in("c.example/privkey.pem"), "ecdsa", 3, "C.example")
	a.sign(in("default/tls.crt"), in("default/tls.key"), "ecdsa", 4, "any.example")
	write(t, in("readme.txt"), "no certificate")
	a.sign(in("d.crt"), in("lost.key"), "ecdsa", 5, "d.example") // without its key
	certs := inDir(t, dir)
	for name, want := range map[string]int64{
		"a.example": 1, "A.EXAMPLE": 1, "a.example.": 1, "b.example": 2, "x.b.example": 2, "x.y.b.example": 4, "c.example": 3, "d.example": 4, "": 4, "any.example": 4,
	} {
		wantSerial(t, certs, name, want)
	}
}

func TestAClientGetsACertificateThatItCanCheck(t *testing.T) {
	a := newAuthority(t)
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	a.sign(in("1.crt"), in("1.key"), "ecdsa", 1, "hub.example")
	a.sign(in("2.crt"), in("2.key"), "rsa", 2, "hub.example")
	h := startInside(t, "--tls-dir="+dir)
	for suite, want := range map[uint16]int64{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256: 1, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256: 2} {
		for _, name := range []string{"hub.example", "127.0.0.1"} {
			conn, err := tls.Dial("tcp", address(h.public), &tls.Config{RootCAs: a.pool, ServerName: name, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{suite}})
			if err != nil {
				t.Fatal(err)
			}
			if got := conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64(); got != want {
				t.Errorf("a client of %s gets %d, want %d", tls.CipherSuiteName(suite), got, want)
			}
			_ = conn.Close()
		}
	}
}

func TestCertificatesAreReadAgainAndNobodyIsCut(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	cert, key := a.pair()
	h := startHub(t, buildHub(t), "", "--tls-cert="+cert, "--tls-key="+key)
	addr := address(h.public)
	ws := dialTLS(t, h.public, a.trusting())
	wantRead(t, ws, `"welcome"`)
	hangUp := func(said string) {
		t.Helper()
		h.signal(syscall.SIGHUP)
		h.await(said)
	}
	a.sign(cert, key, "ecdsa", 2, "hub.example")
	hangUp("new certificates are in use")
	if got := serialAt(t, addr, "hub.example", a.pool); got != 2 {
		t.Errorf("after SIGHUP it is %d", got)
	}
	write(t, key, "no PEM")
	hangUp("a new certificate can't be used; the old one is kept")
	if got := serialAt(t, addr, "hub.example", a.pool); got != 2 {
		t.Errorf("with a bad key it is %d", got)
	}
	if n := h.metric("wshub_certificate_failures_total"); n != 1 {
		t.Errorf("%v failures are counted", n)
	}
	a.sign(cert, key, "ecdsa", 3, "hub.example")
	eventually(t, func() error { // without a signal: a look comes with a client, once a second
		if got := serialAt(t, addr, "hub.example", a.pool); got != 3 {
			return fmt.Errorf("it is %d", got)
		}
		return nil
	})
	say(t, ws, `{"type":"ping","id":1}`)
	wantRead(t, ws, `"pong"`)
}

func TestASignalReadsFilesThatLookAsBefore(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "a.crt"), filepath.Join(dir, "a.key")
	sign := func(serial int64) {
		t.Helper()
		writePair(t, cert, key, serial)
		for _, name := range []string{cert, key} {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			write(t, name, fmt.Sprintf("%-2000s", text))
			if err := os.Chtimes(name, time.Unix(1, 0), time.Unix(1, 0)); err != nil {
				t.Fatal(err)
			}
		}
	}
	sign(1)
	certs := inDir(t, dir)
	sign(2)
	certs.again()
	wantSerial(t, certs, "", 2)
	first := certs.now.Load()
	certs.again()
	wantSerial(t, certs, "", 2)
	if !certs.now.Load().says(first) {
		t.Error("what is read once more counts as new")
	}
}

func TestOneBadPairKeepsNoOtherFromItsRenewal(t *testing.T) {
	a := newAuthority(t)
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	a.sign(in("a.crt"), in("a.key"), "ecdsa", 1, "a.example")
	a.sign(in("b.crt"), in("b.key"), "ecdsa", 2, "b.example")
	certs := inDir(t, dir)
	write(t, in("a.key"), "no PEM")
	a.sign(in("b.crt"), in("b.key"), "ecdsa", 3, "b.example")
	certs.again()
	certs.again() // the same fault is told once
	wantSerial(t, certs, "a.example", 1)
	wantSerial(t, certs, "b.example", 3)
	if n := certs.failed.Load(); n != 1 {
		t.Errorf("%d failures are counted", n)
	}
	if err := os.Remove(in("b.key")); err != nil {
		t.Fatal(err)
	}
	certs.again()
	wantSerial(t, certs, "b.example", 1) // the only one that is left
	if err := errors.Join(os.Remove(in("a.key")), os.Remove(in("a.crt"))); err != nil {
		t.Fatal(err)
	}
	certs.again()
	wantSerial(t, certs, "a.example", 1) // with none left the last ones hold
}

func TestBadCertificatesKeepAHubFromItsStart(t *testing.T) {
	a := newAuthority(t)
	cert, key := a.pair()
	_, otherKey := a.pair()
	for _, c := range []struct{ args, want []string }{
		{[]string{"--tls-cert=" + cert}, []string{"--tls-cert: needs --tls-key"}},
		{[]string{"--tls-key=" + key}, []string{"--tls-key: needs --tls-cert"}},
		{[]string{"--tls-cert=" + cert, "--tls-key=" + otherKey}, []string{"--tls-cert, --tls-key", "private key does not match public key"}},
		{[]string{"--tls-dir=" + t.TempDir()}, []string{"--tls-dir", "no pair in it"}},
		{[]string{"--tls-client-ca=" + a.file}, []string{"--tls-client-ca: it is for TLS"}},
		{[]string{"--tls-cert=" + cert, "--tls-key=" + key, "--tls-client-ca=" + key}, []string{"--tls-client-ca", "no certificate in PEM"}},
	} {
		code, _, stderr := call(t, nil, append(c.args, "--port=0", "--control=127.0.0.1:0")...)
		for _, want := range c.want {
			if code != 2 || !strings.Contains(stderr, want) {
				t.Errorf("%q ends with %d: %s", c.args, code, stderr)
			}
		}
	}
}

func TestAnEndThatIsNearIsSaid(t *testing.T) {
	a := newAuthority(t)
	cert, key := a.pair() // for an hour
	if _, stdout, stderr := call(t, nil, "check", "--tls-cert="+cert, "--tls-key="+key); !strings.Contains(stdout, "A certificate of the public port expires on ") {
		t.Errorf("hub check says nothing of it: %s%s", stdout, stderr)
	}
}

func TestClientsMayNeedACertificate(t *testing.T) {
	a, stranger := newAuthority(t), newAuthority(t)
	cert, key := a.pair()
	with := func(of *authority) *tls.Config {
		cert, key := of.pair()
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			t.Fatal(err)
		}
		cfg := a.trusting()
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
		return cfg
	}
	for auth, want := range map[string][3]bool{"required": {true, false, false}, "optional": {true, true, false}} {
		t.Run(auth, func(t *testing.T) {
			h := startInside(t, "--tls-cert="+cert, "--tls-key="+key, "--tls-client-ca="+a.file, "--tls-client-auth="+auth)
			for i, cfg := range []*tls.Config{with(a), a.trusting(), with(stranger)} {
				ws, err := tryTLS(t.Context(), h.public, cfg)
				if err == nil {
					_ = ws.CloseNow()
				}
				if (err == nil) != want[i] {
					t.Errorf("client %d: %v", i, err)
				}
			}
		})
	}
}

func TestTicketsOfOneHubAreTakenByAnother(t *testing.T) {
	drills.Programs(t)
	a := newAuthority(t)
	cert, key := a.pair()
	start := func(resumeKey string) string {
		t.Helper()
		return address(startHub(t, buildHub(t), "", "--tls-cert="+cert, "--tls-key="+key, "--resume-key="+resumeKey).public)
	}
	const other = "YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXphYmNkZWY="
	first, second, stranger := start(resumeKey1), start(resumeKey1), start(other)
	for name, version := range map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13} {
		cfg := &tls.Config{RootCAs: a.pool, ServerName: "hub.example", MaxVersion: version, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
		resumed := func(addr string) bool {
			t.Helper()
			conn, err := tls.Dial("tcp", addr, cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprint(conn, "GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
			_, _ = conn.Read(make([]byte, 100)) // the ticket comes before it
			return conn.ConnectionState().DidResume
		}
		if resumed(first) || !resumed(first) || !resumed(second) || resumed(stranger) {
			t.Errorf("TLS %s: tickets are not taken by hubs of one --resume-key, or by another", name)
		}
	}
}

func TestTicketKeysChangeWithTheDayAndTwoAreKept(t *testing.T) {
	a := newAuthority(t)
	pair, err := tls.LoadX509KeyPair(a.pair())
	if err != nil {
		t.Fatal(err)
	}
	server := &tls.Config{Certificates: []tls.Certificate{pair}, MaxVersion: tls.VersionTLS12} // its tickets come within the handshake
	k := &ticketKeys{to: server}
	k.turn() // without resume keys those of crypto/tls are used
	k.use([][]byte{make([]byte, 32)})
	client := func() *tls.Config {
		return &tls.Config{RootCAs: a.pool, ServerName: "hub.example", ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	}
	resumed := func(client *tls.Config) bool {
		t.Helper()
		near, far := net.Pipe()
		ended := make(chan error, 1)
		go func() { ended <- tls.Server(far, server).Handshake() }()
		conn := tls.Client(near, client)
		if err := errors.Join(conn.Handshake(), <-ended); err != nil {
			t.Fatal(err)
		}
		return conn.ConnectionState().DidResume
	}
	older, old := client(), client()
	k.set(today().AddDate(0, 0, -2))
	resumed(older)
	k.set(today().AddDate(0, 0, -1))
	resumed(old)
	k.turn()
	if !resumed(old) {
		t.Error("yesterday's ticket is not taken")
	}
	if resumed(older) {
		t.Error("a ticket of the day before is taken")
	}
}

// A stream and the posts of clients need no more than WebSockets do where the public port speaks TLS: large events leave in many records.
func TestStreamsAndPostsOverTLS(t *testing.T) {
	a := newAuthority(t)
	cert, key := a.pair()
	h := startInside(t, "--tls-cert="+cert, "--tls-key="+key, "--history=*=100,5m")
	by := &http.Transport{TLSClientConfig: a.trusting()}
	defer by.CloseIdleConnections()
	public := "wss" + strings.TrimPrefix(h.public, "ws")
	s := readStreamBy(t, by, public, "?topic=news")
	s.lines.Buffer(nil, 1<<20)
	s.want(`{"type":"subscribed"`)
	large := `"` + strings.Repeat("x", 60_000) + `"`
	post := func(data string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http"+strings.TrimPrefix(public, "ws"), strings.NewReader(`{"topic":"news","data":`+data+`}`))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		res, err := by.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusOK {
			t.Fatal(res.Status)
		}
	}
	post(`{"n":1}`)
	s.want(`{"n":1}`)
	post(large)
	s.want(large)
	again := readStreamBy(t, by, public, "?topic=news", "Last-Event-ID", s.last)
	post(`{"n":2}`)
	again.want(`{"type":"subscribed"`)
	again.want(`{"n":2}`)
	s.want(`{"n":2}`)
}
