package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// healthTime is how long a hub may take to say how it is: less than a container's engine waits.
const healthTime = 3 * time.Second

// healthcheck asks the hub that runs with these settings on this machine. It is for images without a shell.
func healthcheck(ctx context.Context, s *settings, stdout io.Writer) error {
	if _, port, err := net.SplitHostPort(s.cfg.Control); err != nil || port == "0" {
		return usageError{fmt.Errorf("--control %s: want the host and port where the hub answers", s.cfg.Control)}
	}
	path := "/livez"
	if s.line.Healthcheck.Ready {
		path = "/readyz"
	}
	ctx, cancel := context.WithTimeout(ctx, healthTime)
	defer cancel()
	scheme := "http://"
	if s.cfg.ControlTLSCert != "" {
		scheme = "https://"
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+s.cfg.Control+path, nil)
	if err != nil {
		return fmt.Errorf("--control: %w", err)
	}
	transport := &http.Transport{ // without the environment's proxy
		DisableKeepAlives: true,
		// The hub is asked by its address on this machine, which its certificate need not name; nothing secret is sent.
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}
	res, err := transport.RoundTrip(r)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 4<<10))
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %d %s", path, res.StatusCode, strings.TrimSpace(string(text)))
	}
	_, err = fmt.Fprintln(stdout, strings.TrimSpace(string(text)))
	return err
}
