package proxy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// maxNetworks bounds a list of Networks: each is looked at for each handshake. Of the large content networks some have
// about 200.
const maxNetworks = 512

// Networks are those of the proxies that are believed.
type Networks []netip.Prefix

// ParseNetworks reads networks as in 10.0.0.0/8 or 2001:db8::/32, and lone addresses, 512 of them at most.
func ParseNetworks(list []string) (Networks, error) {
	if len(list) > maxNetworks {
		return nil, fmt.Errorf("%d networks: at most %d", len(list), maxNetworks)
	}
	var all Networks
	for _, text := range list {
		network, err := parseNetwork(text)
		if err != nil {
			return nil, err
		}
		all = append(all, network)
	}
	return all, nil
}

func parseNetwork(text string) (netip.Prefix, error) {
	bad := func() (netip.Prefix, error) {
		return netip.Prefix{}, fmt.Errorf("%q: want an address or a network, as in 10.0.0.0/8, 192.0.2.7 or 2001:db8::/32", text)
	}
	if !strings.Contains(text, "/") {
		addr, err := netip.ParseAddr(text)
		if err != nil || addr.Zone() != "" {
			return bad()
		}
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	network, err := netip.ParsePrefix(text)
	switch {
	case err != nil:
		return bad()
	case network.Addr().Is4In6() && network.Bits() >= 96: // as sockets have it that take both
		network = netip.PrefixFrom(network.Addr().Unmap(), network.Bits()-96)
	case network.Addr().Is4In6():
		return bad()
	}
	return network.Masked(), nil
}

// Contains reports whether addr, which may be an IPv4 one in IPv6, is in one of the networks. The zero Addr is in none.
func (n Networks) Contains(addr netip.Addr) bool {
	addr = addr.Unmap()
	return slices.ContainsFunc(n, func(network netip.Prefix) bool { return network.Contains(addr) })
}

// Everyone reports whether each address of IPv4, or of IPv6, is in one of the networks.
func (n Networks) Everyone() bool {
	return slices.ContainsFunc(n, func(network netip.Prefix) bool { return network.Bits() == 0 })
}
