package token

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
)

const (
	maxSetBytes  = 256 << 10 // 64 RSA keys of 8,192 bits with certificates
	maxRedirects = 3
)

// get fetches the set's keys once, in up to the set's timeout. Its errors do not contain the URL.
func (s *keySet) get(ctx context.Context) ([]key, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return nil, errors.New("fetch the key set: the URL is malformed")
	}
	request.Header.Set("Accept", "application/jwk-set+json, application/json")
	response, err := s.client.Do(request)
	if err != nil {
		var withURL *url.Error
		if errors.As(err, &withURL) {
			err = withURL.Err // a query may hold a credential
		}
		return nil, fmt.Errorf("fetch the key set: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("fetch the key set: status %d", response.StatusCode)
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxSetBytes+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("fetch the key set: %w", err)
	case len(text) > maxSetBytes:
		return nil, fmt.Errorf("fetch the key set: over %d bytes", maxSetBytes)
	}
	keys, err := parseSet(text)
	if err != nil {
		return nil, fmt.Errorf("fetch the key set: %w", err)
	}
	return keys, nil
}

// trusted reports whether what comes from u can't be forged on the way.
func trusted(u *url.URL) bool {
	if u.Scheme != "http" {
		return u.Scheme == "https" && u.Host != ""
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}

func validateRedirect(r *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects || !trusted(r.URL) {
		return errors.New("redirected too often, or to where keys are not trusted")
	}
	return nil
}
