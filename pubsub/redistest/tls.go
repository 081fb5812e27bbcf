package redistest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Certificates are an authority of the test's own and what it has signed, in PEM files: a server's certificate for
// loopback, and a client's. They hold for an hour.
type Certificates struct {
	CA                    string
	ServerCert, ServerKey string
	ClientCert, ClientKey string
}

// NewCertificates writes them into a directory of the test's.
func NewCertificates(t testing.TB) Certificates {
	t.Helper()
	dir := t.TempDir()
	ca := issue(t, dir, "ca", nil)
	server, client := issue(t, dir, "server", &ca), issue(t, dir, "client", &ca)
	return Certificates{CA: ca.cert, ServerCert: server.cert, ServerKey: server.key, ClientCert: client.cert, ClientKey: client.key}
}

// Client is the configuration of a client that knows the authority and shows its certificate.
func (c Certificates) Client(t testing.TB) *tls.Config {
	t.Helper()
	roots := x509.NewCertPool()
	text, err := os.ReadFile(c.CA)
	if err != nil || !roots.AppendCertsFromPEM(text) {
		t.Fatal("the authority can't be read: ", err)
	}
	pair, err := tls.LoadX509KeyPair(c.ClientCert, c.ClientKey)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}}
}

// Args has a redis-server listen with TLS on port, for clients with a certificate only.
func (c Certificates) Args(port string) []string {
	return []string{
		"--tls-port", port, "--tls-ca-cert-file", c.CA, "--tls-cert-file", c.ServerCert, "--tls-key-file", c.ServerKey, "--tls-auth-clients", "yes",
	}
}

// TLSServer is a Server that listens with TLS, too.
type TLSServer struct {
	*Server
	Certificates
	port string
}

// StartTLS is Start of a server that listens with TLS, too, for clients with a certificate only.
func StartTLS(t testing.TB, args ...string) *TLSServer {
	t.Helper()
	s := &TLSServer{Certificates: NewCertificates(t), port: FreePort(t)}
	s.Server = Start(t, append(s.Args(s.port), args...)...)
	return s
}

// TLSAddr is host:port.
func (s *TLSServer) TLSAddr() string { return "127.0.0.1:" + s.port }

// TLSURL is the address as a REDIS_URL.
func (s *TLSServer) TLSURL() string { return "rediss://" + s.TLSAddr() }

// signed is a certificate, its key, and the files that hold them.
type signed struct {
	x509      *x509.Certificate
	private   *ecdsa.PrivateKey
	cert, key string
}

// issue has by sign a certificate, or itself if by is nil: it is an authority then.
func issue(t testing.TB, dir, name string, by *signed) signed {
	t.Helper()
	must := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	must(err)
	form := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}, DNSNames: []string{"localhost"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		KeyUsage:    x509.KeyUsageDigitalSignature,
	}
	s := signed{private: private, cert: filepath.Join(dir, name+".crt"), key: filepath.Join(dir, name+".key")}
	issuer, signer := form, private
	if by == nil {
		form.IsCA, form.BasicConstraintsValid, form.KeyUsage = true, true, x509.KeyUsageCertSign
	} else {
		issuer, signer = by.x509, by.private
	}
	der, err := x509.CreateCertificate(rand.Reader, form, issuer, &private.PublicKey, signer)
	must(err)
	s.x509, err = x509.ParseCertificate(der)
	must(err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	must(err)
	must(os.WriteFile(s.cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	must(os.WriteFile(s.key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600))
	return s
}
