package webhook

import (
	"errors"
	"net/netip"
	"testing"
)

func TestAnAddressIsJudgedByItsRange(t *testing.T) {
	for text, private := range map[string]bool{
		"127.0.0.1": true, "127.255.255.254": true, "0.0.0.0": true, "10.1.2.3": true, "172.16.0.1": true, "172.31.255.255": true, "192.168.1.1": true,
		"169.254.169.254": true, "100.64.0.1": true, "100.127.255.255": true, "192.0.2.1": true, "198.51.100.7": true, "203.0.113.9": true,
		"198.18.0.1": true, "224.0.0.1": true, "239.255.255.255": true, "240.0.0.1": true, "255.255.255.255": true, "192.0.0.8": true,
		"::": true, "::1": true, "::127.0.0.1": true, "::ffff:127.0.0.1": true, "::ffff:10.0.0.1": true, "::ffff:169.254.169.254": true,
		"fe80::1": true, "fe80::1%eth0": true, "fc00::1": true, "fdff::1": true, "fec0::1": true, "ff02::1": true, "2001:db8::1": true,
		"64:ff9b::7f00:1": true, "64:ff9b::a00:1": true, "64:ff9b:1::1": true, "2002:7f00:1::1": true, "2002:a9fe:a9fe::": true, "2001::1": true,
		"::ffff:0:10.0.0.1": true, "3fff::1": true, "100::1": true,

		"1.1.1.1": false, "8.8.8.8": false, "100.63.255.255": false, "100.128.0.0": false, "172.15.255.255": false, "172.32.0.0": false,
		"169.253.0.1": false, "::ffff:8.8.8.8": false, "2606:4700::1111": false, "64:ff9b::808:808": false, "2002:808:808::1": false, "223.255.255.255": false,
	} {
		addr := netip.MustParseAddr(text)
		if got := isPrivate(addr); got != private {
			t.Errorf("%s: private %v", text, got)
		}
		to := netip.AddrPortFrom(addr, 443).String()
		if err := judge(to, false, false); (err != nil) != private || err != nil && !errors.Is(err, errAddress) {
			t.Errorf("%s: %v", to, err)
		}
		if err := judge(to, true, false); err != nil {
			t.Errorf("allowed: %s: %v", to, err)
		}
		if err := judge(to, true, true); (err != nil) == private {
			t.Errorf("http to %s: %v", to, err)
		}
	}
	if !isPrivate(netip.Addr{}) {
		t.Error("no address is let through")
	}
	if err := judge("/tmp/socket", true, false); err == nil {
		t.Error("a socket is let through")
	}
}
