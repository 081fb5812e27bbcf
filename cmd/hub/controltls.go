package main

import (
	"crypto/tls"
	"fmt"

	"github.com/rs/zerolog"
)

// newServerTLS reads the control port's certificate and its key. An error names the flag.
func newServerTLS(certFile, keyFile string, log zerolog.Logger) (*tls.Config, *certificates, error) {
	certs, err := newCertificates("control", onePair(certFile, keyFile), log)
	if err != nil {
		return nil, nil, fmt.Errorf("--control-tls-cert, --control-tls-key: %w", err)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: certs.get}, certs, nil
}

// validateControlTLS wants both files or none.
func (c *config) validateControlTLS() error {
	return wantPair("control-tls-cert", c.ControlTLSCert, c.ControlTLSKey)
}
