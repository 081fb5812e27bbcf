package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// certificateAge is how old the look at the files may be when somebody connects.
const certificateAge = time.Second

// certificate is the control port's, read anew when its files change.
type certificate struct {
	// Fixed at birth.
	certFile, keyFile string
	log               zerolog.Logger

	mu     sync.Mutex
	now    *tls.Certificate
	of     [2]fileStamp // the files that it was read from
	looked time.Time
}

// fileStamp tells one state of a file from another.
type fileStamp struct {
	changed time.Time
	size    int64
}

// newServerTLS reads a certificate and its key. An error names the flag.
func newServerTLS(certFile, keyFile string, log zerolog.Logger) (*tls.Config, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile, log: log}
	if err := c.read(c.stamps()); err != nil {
		return nil, fmt.Errorf("--control-tls-cert, --control-tls-key: %w", err)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.get}, nil
}

// get is for tls.Config.GetCertificate. While new files can't be read, or do not fit each other, the old certificate holds.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.looked) < certificateAge {
		return c.now, nil
	}
	c.looked = time.Now()
	if stamps := c.stamps(); stamps != c.of {
		if err := c.read(stamps); err != nil {
			c.log.Error().Err(err).Msg("the control port's new certificate can't be used; the old one is kept")
		} else {
			c.log.Info().Msg("the control port has a new certificate")
		}
	}
	return c.now, nil
}

func (c *certificate) stamps() (stamps [2]fileStamp) {
	for i, name := range []string{c.certFile, c.keyFile} {
		if info, err := os.Stat(name); err == nil {
			stamps[i] = fileStamp{info.ModTime(), info.Size()}
		}
	}
	return stamps
}

// read reads the files, which were in a state before.
func (c *certificate) read(stamps [2]fileStamp) error {
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return err
	}
	c.now, c.of = &pair, stamps
	return nil
}

// validateControlTLS wants both files or none.
func (c *config) validateControlTLS() error {
	switch {
	case c.ControlTLSCert == "" && c.ControlTLSKey == "":
		return nil
	case c.ControlTLSKey == "":
		return errors.New("--control-tls-cert: needs --control-tls-key")
	case c.ControlTLSCert == "":
		return errors.New("--control-tls-key: needs --control-tls-cert")
	}
	for _, file := range []struct{ flag, name string }{{"control-tls-cert", c.ControlTLSCert}, {"control-tls-key", c.ControlTLSKey}} {
		if isPEM(file.name) {
			return fmt.Errorf("--%s: want the name of a PEM file, not its text", file.flag)
		}
		if _, err := os.Stat(file.name); err != nil {
			return fmt.Errorf("--%s %s: %w", file.flag, file.name, reason(err))
		}
	}
	return nil
}
