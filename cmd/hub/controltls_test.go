package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

// writePair writes a certificate with this serial number for 127.0.0.1, and its key.
func writePair(t *testing.T, certFile, keyFile string, serial int64) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool := x509.NewCertPool()
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool.AddCert(cert)
	return pool
}

func TestTheControlPortSpeaksTLS(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	pool := writePair(t, cert, key, 1)
	h := startInside(t, "--control-tls-cert="+cert, "--control-tls-key="+key)
	addr := strings.TrimPrefix(h.control, "http://")
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	defer client.CloseIdleConnections()
	eventually(t, func() error {
		res, err := client.Get("https://" + addr + "/readyz")
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if res.StatusCode != 200 {
			return errors.New(res.Status)
		}
		return nil
	})
	conn, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: pool, NextProtos: []string{"h2", "http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	answers := bufio.NewReader(conn)
	for range 2 { // on one connection
		fmt.Fprintf(conn, "GET /api/nodes HTTP/1.1\r\nHost: %s\r\n\r\n", addr)
		res, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(res.Body); err != nil || res.StatusCode != 200 || !strings.Contains(string(body), `"silent":[]`) {
			t.Fatalf("answered %s %s, %v", res.Status, body, err)
		}
	}
	res, err := http.Get(h.control + "/livez")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != 400 {
		t.Errorf("without TLS it is answered %d", res.StatusCode)
	}
	if code, stdout, stderr := call(t, nil, "healthcheck", "--control="+addr, "--control-tls-cert="+cert, "--control-tls-key="+key); code != 0 {
		t.Errorf("hub healthcheck: %d %s%s", code, stdout, stderr)
	}
}

func TestANewCertificateIsTakenAndABadOneIsNot(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writePair(t, cert, key, 1)
	c, err := newCertificates("control", onePair(cert, key), zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	serial := func() int64 {
		t.Helper()
		c.looked = time.Time{} // the next look is due
		now, err := c.get(nil)
		if err != nil {
			t.Fatal(err)
		}
		return now.Leaf.SerialNumber.Int64()
	}
	later := time.Now().Add(time.Minute)
	for _, file := range []string{cert, key} {
		if err := os.WriteFile(file, []byte("no PEM"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got := serial(); got != 1 {
		t.Errorf("with bad files it is %d", got)
	}
	writePair(t, cert, key, 2)
	if err := os.Chtimes(cert, later, later); err != nil {
		t.Fatal(err)
	}
	if got := serial(); got != 2 {
		t.Errorf("with new files it is %d", got)
	}
}

func TestFilesOfTheControlPortAreChecked(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writePair(t, cert, key, 1)
	for _, c := range []struct{ args, want []string }{
		{[]string{"--control-tls-cert=" + cert}, []string{"--control-tls-cert: needs --control-tls-key"}},
		{[]string{"--control-tls-key=" + key}, []string{"--control-tls-key: needs"}},
		{[]string{"--control-tls-cert=" + cert + "x", "--control-tls-key=" + key}, []string{"--control-tls-cert", cert + "x", "no such file"}},
		{[]string{"--control-tls-cert=" + key, "--control-tls-key=" + key}, []string{"--control-tls-cert"}},
	} {
		code, _, stderr := call(t, nil, append(c.args, "--port=0", "--control=127.0.0.1:0")...)
		for _, want := range c.want {
			if code == 0 || !strings.Contains(stderr, want) {
				t.Errorf("%q ends with %d: %s", c.args, code, stderr)
			}
		}
	}
}
