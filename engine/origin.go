package engine

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Origins says which web pages may open a connection. Its zero value, and nil, let in only those of the
// Host itself and of the loopback interface.
type Origins struct {
	all     bool
	exact   map[string]bool // besides origins: null and file://
	parents []parentOrigin
}

// parentOrigin lets in every name below a domain.
type parentOrigin struct {
	scheme string // with "://"
	suffix string // the domain with the dot before it, and the port if one was given
}

// ParseOrigins reads a list of origins to let in besides the Host's own and loopback ones. An entry is
//   - an origin as a browser sends it: https://example.com, http://example.com:8080, capacitor://localhost;
//   - one with *. before its host, for all names below it but not itself: https://*.example.com;
//   - null or file://, for pages that have no host: those of files and of sandboxed frames (null) and of apps that wrap
//     a page, as Electron's (file://). Any such page anywhere may then connect;
//   - a single *, for every origin, null and file:// included.
func ParseOrigins(list []string) (*Origins, error) {
	o := &Origins{exact: make(map[string]bool)}
	for _, entry := range list {
		entry = strings.TrimSpace(entry)
		if entry == "*" {
			o.all = true
			continue
		}
		if hostless(entry) {
			o.exact[strings.ToLower(entry)] = true
			continue
		}
		scheme, host, ok := cutOrigin(entry)
		if !ok {
			return nil, fmt.Errorf("origin %q: want scheme://host or scheme://host:port without a path, null, file:// or *; commas separate several", entry)
		}
		name, below := strings.CutPrefix(host, "*.")
		if _, ok := cutPort(name); !ok {
			return nil, fmt.Errorf("origin %q: bad host (a name's letters beyond ASCII are written as xn--…; * stands only before the first dot)", entry)
		}
		if below {
			o.parents = append(o.parents, parentOrigin{scheme + "://", "." + name})
		} else {
			o.exact[scheme+"://"+name] = true
		}
	}
	return o, nil
}

// allow reports whether a page of this origin may connect to this host. An absent origin is no browser's
// and may.
func (o *Origins) allow(origin, host string) bool {
	if origin == "" || o != nil && o.all {
		return true
	}
	if hostless(origin) {
		return o != nil && o.exact[strings.ToLower(origin)]
	}
	scheme, name, ok := cutOrigin(origin)
	if !ok {
		return false
	}
	if scheme == "http" || scheme == "https" {
		if name == trimDefaultPort(scheme, strings.ToLower(host)) || loopback(name) {
			return true
		}
	}
	if o == nil {
		return false
	}
	return o.exact[scheme+"://"+name] || slices.ContainsFunc(o.parents, func(p parentOrigin) bool {
		return p.scheme == scheme+"://" && len(name) > len(p.suffix) && strings.HasSuffix(name, p.suffix)
	})
}

// hostless reports whether origin is one of the two that stand for pages without a host.
func hostless(origin string) bool {
	return foldsTo(origin, "null") || foldsTo(origin, "file://")
}

// cutOrigin splits an origin (RFC 6454, 6.2) into its scheme and its host, in lower case and without the
// scheme's default port. It refuses "null" and whatever carries more than an origin.
func cutOrigin(origin string) (scheme, host string, ok bool) {
	scheme, host, ok = strings.Cut(strings.ToLower(origin), "://")
	ok = ok && isVisible(origin) && isToken(scheme) && !strings.Contains(scheme, "*")
	if !ok || host == "" || strings.ContainsAny(host, "/?#@") {
		return "", "", false
	}
	return scheme, trimDefaultPort(scheme, host), true
}

func trimDefaultPort(scheme, host string) string {
	switch scheme {
	case "http":
		return strings.TrimSuffix(host, ":80")
	case "https":
		return strings.TrimSuffix(host, ":443")
	}
	return host
}

// loopback reports whether host, on any port, is this machine.
func loopback(host string) bool {
	name, ok := cutPort(host)
	if name == "localhost" {
		return ok
	}
	ip, err := netip.ParseAddr(name)
	return ok && err == nil && ip.IsLoopback()
}

// cutPort returns the name or address in host, an IPv6 one without its brackets. ok says that host is
// well formed (RFC 3986, 3.2.2; of the rarities allowed there a name may have ~ and _ only) and its port,
// if it has one, a number.
func cutPort(host string) (name string, ok bool) {
	var port string
	var hasPort bool
	if v6, bracketed := strings.CutPrefix(host, "["); bracketed {
		name, port, ok = strings.Cut(v6, "]")
		ip, err := netip.ParseAddr(name)
		if !ok || err != nil || !ip.Is6() || ip.Zone() != "" {
			return "", false
		}
		if port == "" {
			return name, true
		}
		port, hasPort = strings.CutPrefix(port, ":")
		if !hasPort {
			return "", false
		}
	} else {
		name, port, hasPort = strings.Cut(host, ":")
		if name == "" || strings.ContainsFunc(name, notInName) {
			return "", false
		}
	}
	if hasPort {
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return "", false
		}
	}
	return name, true
}

func notInName(c rune) bool {
	switch {
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		return false
	}
	return !strings.ContainsRune("-._~", c)
}
