package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
)

// publicTLS is the TLS of the public port.
type publicTLS struct {
	// Fixed at birth.
	config  *tls.Config // the engine's
	blank   *tls.Config // the same, never with ticket keys
	certs   *certificates
	tickets *ticketKeys
	caFile  string
	log     zerolog.Logger

	// withCA is config with the authorities of clients' certificates as they are now. nil: clients need none.
	withCA atomic.Pointer[tls.Config]
	caLook sync.Mutex
}

// speaksTLS reports whether the public port does.
func (c *config) speaksTLS() bool { return c.TLSCert != "" || c.TLSDir != "" }

// publicTLS reads the public port's certificates. nil: the port speaks no TLS.
func (c *config) publicTLS(log zerolog.Logger) (*publicTLS, error) {
	if !c.speaksTLS() {
		return nil, nil
	}
	certs, err := newCertificates("public", c.publicPairs, log)
	if err != nil {
		if c.TLSDir == "" {
			return nil, fmt.Errorf("--tls-cert, --tls-key: %w", err)
		}
		return nil, fmt.Errorf("--tls-dir: %w", err)
	}
	p := &publicTLS{certs: certs, caFile: c.TLSClientCA, log: log}
	p.config = &tls.Config{
		MinVersion:     tlsVersions[c.TLSMin],
		NextProtos:     []string{"http/1.1"},
		GetCertificate: certs.get,
		// A record is as large as what is written at once: events of one topic are joined before.
		DynamicRecordSizingDisabled: true,
	}
	if p.caFile != "" {
		p.config.ClientAuth = clientAuth[c.TLSClientAuth]
	}
	p.tickets, p.blank = &ticketKeys{to: p.config}, p.config.Clone()
	if p.caFile != "" {
		if err := p.readCA(); err != nil {
			return nil, err
		}
	}
	p.config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		p.tickets.turn()
		return p.withCA.Load(), nil
	}
	return p, nil
}

var (
	tlsVersions = map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}
	clientAuth  = map[string]tls.ClientAuthType{"required": tls.RequireAndVerifyClientCert, "optional": tls.VerifyClientCertIfGiven}
)

// publicPairs are the files of the public port's certificates, the default one first.
func (c *config) publicPairs() ([]pairFiles, error) {
	var list []pairFiles
	if c.TLSCert != "" {
		list = append(list, pairFiles{c.TLSCert, c.TLSKey})
	}
	if c.TLSDir == "" {
		return list, nil
	}
	more, err := pairsIn(c.TLSDir)
	return append(list, more...), err
}

// readCA reads the authorities of clients' certificates.
func (p *publicTLS) readCA() error {
	p.caLook.Lock()
	defer p.caLook.Unlock()
	pool, err := readAuthorities(p.caFile)
	if err != nil {
		return fmt.Errorf("--tls-client-ca %s: %w", p.caFile, err)
	}
	next := p.blank.Clone() // without ticket keys of its own it uses the config's
	next.ClientCAs = pool
	p.withCA.Store(next)
	return nil
}

// again reads all files again, at SIGHUP. nil p has none.
func (p *publicTLS) again() {
	if p == nil {
		return
	}
	p.certs.again()
	if p.caFile == "" {
		return
	}
	if err := p.readCA(); err != nil {
		p.certs.failed.Add(1)
		p.log.Error().Err(err).Msg("the authorities of clients' certificates can't be read again; those from before hold")
	}
}

// certificates are those of the port, nil without TLS.
func (p *publicTLS) certificates() *certificates {
	if p == nil {
		return nil
	}
	return p.certs
}

// useTicketKeys takes the resume keys.
func (p *publicTLS) useTicketKeys(keys [][]byte) {
	if p != nil {
		p.tickets.use(keys)
	}
}

func (c *config) validatePublicTLS() error {
	if err := wantPair("tls-cert", c.TLSCert, c.TLSKey); err != nil {
		return err
	}
	if c.TLSDir != "" {
		if err := wantFile("tls-dir", c.TLSDir); err != nil {
			return err
		}
	}
	if c.TLSClientCA != "" {
		if err := wantFile("tls-client-ca", c.TLSClientCA); err != nil {
			return err
		}
		if !c.speaksTLS() {
			return errors.New("--tls-client-ca: it is for TLS, which takes --tls-cert and --tls-key, or --tls-dir")
		}
	}
	_, err := c.publicTLS(zerolog.Nop())
	return err
}

// soon is from when on the end of a certificate is worth a note.
const soon = 14 * 24 * time.Hour

// tlsNotes are about a certificate that will not do for long.
func (c *config) tlsNotes() []string {
	p, err := c.publicTLS(zerolog.Nop())
	if p == nil || err != nil {
		return nil
	}
	switch end := p.certs.now.Load().expires; {
	case time.Until(end) < 0:
		return []string{"A certificate of the public port expired on " + end.UTC().Format(time.RFC1123) + ": clients will not connect."}
	case time.Until(end) < soon:
		return []string{"A certificate of the public port expires on " + end.UTC().Format(time.RFC1123) + "."}
	}
	return nil
}

// scheme is that of the public port's URLs.
func (c *config) scheme() string {
	if c.speaksTLS() {
		return "wss"
	}
	return "ws"
}
