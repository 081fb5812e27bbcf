package main

import (
	"crypto/sha256"
	"crypto/subtle"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
)

// guard decides who may use /api and /debug: every caller with a key; where no key is configured, a program on
// this machine, and where clients need tokens, nobody. A web page never may, wherever its browser runs. A proxy on this
// machine brings in the world: it is refused where it can be told from a program. A key of lookers lets in to look.
type guard struct {
	keys, lookers *apiKeys
	open          bool // clients need no tokens
}

// keyWanted is said without < and >, which JSON would escape.
const keyWanted = "a valid key is required (--api-key; to look, --console-key): Authorization: Bearer KEY, or X-API-Key: KEY"

func newGuard(keys, consoleKeys []string, open bool) guard {
	g := guard{keys: &apiKeys{}, lookers: &apiKeys{}, open: open}
	g.use(keys, consoleKeys)
	return g
}

// use makes these the keys that are good, from now on.
func (g guard) use(keys, consoleKeys []string) {
	g.keys.use(keys)
	g.lookers.use(consoleKeys)
}

// looking is nil for a request that may look.
func (g guard) looking(r *http.Request) *apiError {
	key := keyOf(r)
	switch {
	case !fromPage(r) && g.lookers.knows(key):
		return nil
	case !fromPage(r) && g.lookers.any() && !g.keys.any() && key != "":
		return unauthorized(keyWanted)
	}
	return g.judge(r, key)
}

// apiKeys are the keys that are good. They may change at any time.
type apiKeys struct {
	sums atomic.Pointer[[][sha256.Size]byte]
}

func (k *apiKeys) use(keys []string) {
	var sums [][sha256.Size]byte
	for _, key := range keys {
		sums = append(sums, sha256.Sum256([]byte(key)))
	}
	k.sums.Store(&sums)
}

// any tells whether there is a key.
func (k *apiKeys) any() bool { return len(*k.sums.Load()) > 0 }

// knows compares in a time that does not depend on the keys.
func (k *apiKeys) knows(key string) bool {
	sum, found := sha256.Sum256([]byte(key)), 0
	for _, own := range *k.sums.Load() {
		found |= subtle.ConstantTimeCompare(sum[:], own[:])
	}
	return found == 1
}

// markLooker says in a header of its answer that a request's key may look and nothing else: the console then says why its buttons
// are off.
func (g guard) markLooker(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if key := keyOf(r); g.lookers.knows(key) && !g.keys.knows(key) {
			w.Header().Set("X-Hub-Key", "console")
		}
		next.ServeHTTP(w, r)
	})
}

// refusal is nil for a request that may pass.
func (g guard) refusal(r *http.Request) *apiError { return g.judge(r, keyOf(r)) }

// judge is nil for a request with this key that may pass.
func (g guard) judge(r *http.Request, key string) *apiError {
	switch {
	case fromPage(r):
		return forbidden("requests from other origins are refused")
	case g.lookers.knows(key) && !g.keys.knows(key):
		return forbidden("a --console-key may look, and nothing else")
	case g.keys.any() && !g.keys.knows(key):
		return unauthorized(keyWanted)
	case g.keys.any():
		return nil
	case !g.open:
		return unauthorized("no --api-key is configured: nobody may ask a hub whose clients need tokens")
	case !isLoopback(r.RemoteAddr):
		return unauthorized("no --api-key is configured: only this machine may ask")
	case !r.ProtoAtLeast(1, 1):
		return unauthorized("no --api-key is configured: only programs on this machine may ask, by HTTP/1.1; by HTTP/1.0 proxies ask")
	case proxyHeader(r.Header) != "":
		return unauthorized("no --api-key is configured: only programs on this machine may ask, and " + proxyHeader(r.Header) + " comes from a proxy")
	case !isLoopback(r.Host): // a name that a web page's owner made point to this machine
		return forbidden("without a key, Host must be a loopback address or localhost")
	}
	return nil
}

func unauthorized(why string) *apiError {
	return &apiError{http.StatusUnauthorized, "unauthorized", why}
}

func forbidden(why string) *apiError { return &apiError{http.StatusForbidden, "forbidden", why} }

// proxyHeaders are fields that proxies, balancers and content networks add, and programs do not: fields of tracing are none
// of them. In canonical form; with "*" the beginning of a name.
var proxyHeaders = []string{
	"Via", "Forwarded", "X-Forwarded*", "X-Real-Ip", "X-Original*", "X-Scheme", "Proxy-*", "X-Proxy*", "Cdn-Loop", "Surrogate-Capability",
	"Client-Ip", "X-Client-Ip", "X-Cluster-Client-Ip", "True-Client-Ip", "Cf-Connecting-Ip", "Cf-Ray", "Fly-Client-Ip", "Fastly-*", "X-Varnish",
	"X-Envoy-*", "X-Amz-Cf-*", "Cloudfront-*", "X-Appengine-*", "X-Azure-*", "X-Arr-*", "X-Akamai-*", "Akamai-*", "X-Vercel-*",
}

// proxyHeader is the first field of h that only a proxy adds, "" if there is none.
func proxyHeader(h http.Header) string {
	for _, name := range slices.Sorted(maps.Keys(h)) {
		if slices.ContainsFunc(proxyHeaders, func(p string) bool {
			begin, isBeginning := strings.CutSuffix(p, "*")
			return name == p || isBeginning && strings.HasPrefix(name, begin)
		}) {
			return name
		}
	}
	return ""
}

func keyOf(r *http.Request) string {
	if scheme, key, _ := strings.Cut(r.Header.Get("Authorization"), " "); strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(key)
	}
	return r.Header.Get("X-API-Key")
}

// fromPage reports whether a browser sent r on behalf of a page of another origin.
func fromPage(r *http.Request) bool {
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" {
		return site != "same-origin" && site != "none"
	}
	origin := r.Header.Get("Origin")
	u, err := url.Parse(origin)
	return origin != "" && (err != nil || u.Host != r.Host)
}

// isLoopback reports whether host, with or without a port, is a loopback address or localhost.
func isLoopback(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	ip, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && ip.Unmap().IsLoopback()
}
