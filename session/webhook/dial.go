package webhook

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"syscall"
	"time"
)

// dialTime bounds a dial of one try.
const dialTime = 5 * time.Second

// errAddress: an endpoint's name led to an address that requests must not go to.
var errAddress = errors.New("address not allowed")

// private are the ranges that are not reached without Config.AllowPrivate, those of IPv4 also as mapped and translated ones. Sources:
// the IANA registries of special-purpose addresses, RFC 6890 and the RFCs beside them.
var private = prefixes(
	"0.0.0.0/8",       // this network (RFC 791)
	"10.0.0.0/8",      // private (RFC 1918)
	"100.64.0.0/10",   // behind a carrier's NAT (RFC 6598)
	"127.0.0.0/8",     // loopback (RFC 1122)
	"169.254.0.0/16",  // link-local (RFC 3927), where clouds have their metadata
	"172.16.0.0/12",   // private (RFC 1918)
	"192.0.0.0/24",    // protocol assignments (RFC 6890)
	"192.0.2.0/24",    // documentation (RFC 5737)
	"192.31.196.0/24", // AS112 (RFC 7535)
	"192.52.193.0/24", // AMT (RFC 7450)
	"192.88.99.0/24",  // 6to4 relays (RFC 7526)
	"192.168.0.0/16",  // private (RFC 1918)
	"192.175.48.0/24", // AS112 (RFC 7534)
	"198.18.0.0/15",   // benchmarks (RFC 2544)
	"198.51.100.0/24", // documentation (RFC 5737)
	"203.0.113.0/24",  // documentation (RFC 5737)
	"224.0.0.0/4",     // multicast (RFC 5771)
	"240.0.0.0/4",     // reserved (RFC 1112), and broadcast

	"::/96",             // unspecified, loopback, and IPv4-compatible ones (RFC 4291)
	"64:ff9b:1::/48",    // local translation of IPv4 (RFC 8215)
	"100::/64",          // discarded (RFC 6666)
	"100:0:0:1::/64",    // dummies (RFC 9780)
	"2001::/23",         // protocol assignments (RFC 2928), Teredo among them
	"2001:db8::/32",     // documentation (RFC 3849)
	"2620:4f:8000::/48", // AS112 (RFC 7534)
	"3fff::/20",         // documentation (RFC 9637)
	"5f00::/16",         // segment routing (RFC 9602)
	"fc00::/7",          // unique local (RFC 4193)
	"fe80::/10",         // link-local (RFC 4291)
	"fec0::/10",         // site-local (RFC 3879)
	"ff00::/8",          // multicast (RFC 4291)
)

// translated are the ranges of IPv6 addresses that lead to an IPv4 address, whose bytes stand at at.
var translated = []struct {
	netip.Prefix
	at int
}{
	{netip.MustParsePrefix("64:ff9b::/96"), 12},    // NAT64 (RFC 6052)
	{netip.MustParsePrefix("2002::/16"), 2},        // 6to4 (RFC 3056)
	{netip.MustParsePrefix("::ffff:0:0:0/96"), 12}, // SIIT (RFC 2765)
}

func prefixes(texts ...string) (list []netip.Prefix) {
	for _, text := range texts {
		list = append(list, netip.MustParsePrefix(text))
	}
	return list
}

// isPrivate reports whether addr is none of the public Internet.
func isPrivate(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	if !addr.IsValid() {
		return true
	}
	for _, p := range private {
		if p.Contains(addr) {
			return true
		}
	}
	for _, t := range translated {
		if t.Contains(addr) {
			b := addr.As16()
			return isPrivate(netip.AddrFrom4([4]byte(b[t.at : t.at+4])))
		}
	}
	return false
}

// judge is an errAddress if a request must not go to addr, which is host:port as the kernel is about to get it.
func judge(addr string, allowPrivate, plain bool) error {
	to, err := netip.ParseAddrPort(addr)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %q is no IP address", errAddress, addr)
	case isPrivate(to.Addr()) && !allowPrivate:
		return fmt.Errorf("%w: %s is private", errAddress, to.Addr())
	case plain && !isPrivate(to.Addr()):
		return fmt.Errorf("%w: %s is public, and http is for private ones", errAddress, to.Addr())
	}
	return nil
}

// judgeHost is judge for a URL whose host is an address: it would be refused at each request.
func judgeHost(u *url.URL, allowPrivate bool) error {
	addr, err := netip.ParseAddr(u.Hostname())
	if err != nil {
		return nil // a name, which is judged when it is dialled
	}
	return judge(netip.AddrPortFrom(addr, 443).String(), allowPrivate, u.Scheme == "http")
}

// dialer dials addresses that judge lets through. Each one is judged after the name was resolved, right before the kernel dials it.
func dialer(allowPrivate, plain bool) func(ctx context.Context, network, addr string) (net.Conn, error) {
	d := net.Dialer{Timeout: dialTime, Control: func(_, addr string, _ syscall.RawConn) error {
		return judge(addr, allowPrivate, plain)
	}}
	return d.DialContext
}
