package main

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
)

// certificateAge is how old the look at the files may be when somebody connects.
const certificateAge = time.Second

// certificates are those of one port, read anew when their files change. While new files can't be read, or do not fit each
// other, the old ones hold.
type certificates struct {
	// Fixed at birth.
	port  string // for the log
	files func() ([]pairFiles, error)
	log   zerolog.Logger

	now    atomic.Pointer[certificateSet]
	failed atomic.Uint64 // new files that could not be taken

	mu     sync.Mutex // held by whoever looks at the files; others do not wait
	looked time.Time
	fault  string // of the last look
}

// certificateSet is what the files held at one look.
type certificateSet struct {
	pairs    map[pairFiles]certPair
	byName   map[string][]*tls.Certificate // in lower case; one name may have several, as of RSA and ECDSA
	fallback []*tls.Certificate            // for clients that name no server, or another
	expires  time.Time                     // the first of them
}

// pairFiles are a certificate's file and its key's.
type pairFiles struct{ cert, key string }

// certPair is what they hold, in the state of the files that it was read from.
type certPair struct {
	cert  *tls.Certificate
	state [2]fileState
}

// fileState tells one state of a file from another.
type fileState struct {
	changed time.Time
	size    int64
}

// newCertificates reads the certificates of a port. files are where they are; the first one is for clients that name no
// server.
func newCertificates(port string, files func() ([]pairFiles, error), log zerolog.Logger) (*certificates, error) {
	c := &certificates{port: port, files: files, log: log, looked: time.Now()}
	set, err := c.read(new(certificateSet), false)
	if err != nil {
		return nil, err
	}
	c.now.Store(set)
	return c, nil
}

// get is for tls.Config.GetCertificate.
func (c *certificates) get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if c.mu.TryLock() {
		if time.Since(c.looked) >= certificateAge {
			c.look(false)
		}
		c.mu.Unlock()
	}
	return c.now.Load().choose(hello), nil
}

// again reads all files at once: some are renewed with the size and the time of change that they had, as in images whose files all
// have the same time.
func (c *certificates) again() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.look(true)
}

// look reads what has changed, or all. mu is held.
func (c *certificates) look(all bool) {
	c.looked = time.Now()
	old := c.now.Load()
	set, err := c.read(old, all)
	if set != nil && !set.same(old) {
		c.now.Store(set)
	}
	if set != nil && !set.says(old) {
		c.log.Info().Str("port", c.port).Int("certificates", len(set.pairs)).Time("first_expires", set.expires).Msg("new certificates are in use")
	}
	fault := ""
	if err != nil {
		fault = err.Error()
	}
	if fault != c.fault && fault != "" {
		c.failed.Add(1)
		c.log.Error().Err(err).Str("port", c.port).Msg("a new certificate can't be used; the old one is kept")
	}
	c.fault = fault
}

// read reads the files that are in another state than in old, or all. With the error of a file comes the set in which the old pair
// holds in its place; if there is none, no set.
func (c *certificates) read(old *certificateSet, all bool) (*certificateSet, error) {
	files, err := c.files()
	if err != nil {
		return nil, err
	}
	set := &certificateSet{pairs: make(map[pairFiles]certPair), byName: make(map[string][]*tls.Certificate)}
	var errs []error
	for i, f := range files {
		was, known := old.pairs[f]
		p := was
		if state := f.state(); all || !known || state != was.state {
			if p, err = f.read(state); err != nil {
				errs = append(errs, err)
				if !known {
					continue
				}
				p = was
			}
		}
		set.add(f, p)
		if i == 0 || len(set.fallback) == 0 {
			set.fallback = []*tls.Certificate{p.cert}
		}
	}
	if err := errors.Join(errs...); len(set.pairs) == 0 || err != nil && len(old.pairs) == 0 {
		return nil, err
	}
	if name := serverNames(set.fallback[0]); len(name) > 0 {
		set.fallback = set.byName[name[0]]
	}
	return set, errors.Join(errs...)
}

func (s *certificateSet) add(f pairFiles, p certPair) {
	s.pairs[f] = p
	for _, name := range serverNames(p.cert) {
		s.byName[name] = append(s.byName[name], p.cert)
	}
	if s.expires.IsZero() || p.cert.Leaf.NotAfter.Before(s.expires) {
		s.expires = p.cert.Leaf.NotAfter
	}
}

// same reports whether nothing was read that old has not.
func (s *certificateSet) same(old *certificateSet) bool {
	return s.fits(old, func(now, was *tls.Certificate) bool { return now == was })
}

// says reports whether the files say what they said in old.
func (s *certificateSet) says(old *certificateSet) bool {
	return s.fits(old, func(now, was *tls.Certificate) bool {
		return now == was || was != nil && slices.EqualFunc(now.Certificate, was.Certificate, bytes.Equal)
	})
}

// fits reports whether s has the same pairs as old, and each fits that of old.
func (s *certificateSet) fits(old *certificateSet, fits func(now, was *tls.Certificate) bool) bool {
	if len(s.pairs) != len(old.pairs) {
		return false
	}
	for f, p := range s.pairs {
		if !fits(p.cert, old.pairs[f].cert) {
			return false
		}
	}
	return true
}

// choose is the certificate for the server that the client names (RFC 6066, 3): one of that name, then one of *. and its
// parent, then the first of all.
func (s *certificateSet) choose(hello *tls.ClientHelloInfo) *tls.Certificate {
	list := s.fallback
	if hello == nil {
		return list[0]
	}
	name := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
	_, parent, _ := strings.Cut(name, ".")
	if of := s.byName[name]; len(of) > 0 {
		list = of
	} else if of := s.byName["*."+parent]; len(of) > 0 {
		list = of
	}
	for _, cert := range list[:len(list)-1] {
		if hello.SupportsCertificate(cert) == nil {
			return cert
		}
	}
	return list[len(list)-1]
}

// serverNames are the servers that a certificate is for.
func serverNames(cert *tls.Certificate) (list []string) {
	for _, name := range cert.Leaf.DNSNames {
		list = append(list, strings.ToLower(name))
	}
	if len(list) == 0 && cert.Leaf.Subject.CommonName != "" {
		list = append(list, strings.ToLower(cert.Leaf.Subject.CommonName))
	}
	return list
}

func (f pairFiles) state() (state [2]fileState) {
	for i, name := range []string{f.cert, f.key} {
		if info, err := os.Stat(name); err == nil {
			state[i] = fileState{info.ModTime(), info.Size()}
		}
	}
	return state
}

// read reads the files, which were in a state before.
func (f pairFiles) read(state [2]fileState) (certPair, error) {
	cert, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		return certPair{}, fmt.Errorf("%s, %s: %w", f.cert, f.key, reason(err))
	}
	return certPair{&cert, state}, nil
}

// certificateState is what metrics say of certificates.
type certificateState struct {
	untilExpiry float64 // seconds until the first one expires; NaN without any
	failed      uint64
}

// stateOf is that of several ports, some of which may have none.
func stateOf(ports ...*certificates) certificateState {
	state := certificateState{untilExpiry: math.NaN()}
	for _, c := range ports {
		if c == nil {
			continue
		}
		if left := time.Until(c.now.Load().expires).Seconds(); !(left >= state.untilExpiry) {
			state.untilExpiry = left
		}
		state.failed += c.failed.Load()
	}
	return state
}
