package engine

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

func TestAddressesOfOneSubscriberAreOne(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"192.0.2.1", "192.0.2.1", true},
		{"192.0.2.1", "192.0.2.2", false},
		{"192.0.2.1", "::ffff:192.0.2.1", true},
		{"2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", true},
		{"2001:db8:0:1::1", "2001:db8:0:2::1", false},
		{"0.0.0.0", "::", false},
		{"127.0.0.1", "::1", false},
		{"192.0.2.1", "64:ff9b::192.0.2.1", false},
		{"192.0.2.1", "0:ffff:c000:201::", false},
	} {
		if a, b := keyOf(netip.MustParseAddr(c.a)), keyOf(netip.MustParseAddr(c.b)); (a == b) != c.same {
			t.Errorf("%s is %x, %s is %x", c.a, a, c.b, b)
		}
	}
}

// Each address may come at once as often as in a second, and then at the rate; others are not held up by it.
func TestHandshakesOfAnAddressArePaced(t *testing.T) {
	const rate = 4
	a := newAddresses(0, rate)
	one, other := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	now := time.Hour
	come := func(addr netip.Addr, tries int) (let int) {
		for range tries {
			switch r := a.enter(addr, now); r {
			case nil:
				let++
				a.leave(addr)
			case refuseAddressRate:
			default:
				t.Fatalf("refused: %+v", r)
			}
		}
		return let
	}
	if n := come(one, 10); n != rate {
		t.Errorf("%d at once", n)
	}
	if n := come(other, 1); n != 1 {
		t.Error("another address waits, too")
	}
	let := 0
	for range 100 { // it goes on and on, for 10 s
		now += 100 * time.Millisecond
		let += come(one, 3)
	}
	if let != 10*rate {
		t.Errorf("%d in 10 s", let)
	}
	now += 2 * time.Second
	if n := come(one, 10); n != rate {
		t.Errorf("%d at once, after a while", n)
	}
	now += 2 * time.Second
	if a.sweep(0, 1, now); !a.forgotten() {
		t.Error("an address that is gone is remembered")
	}
}

// A flood of addresses is refused, under a name of its own, rather than let in unbounded or remembered without end.
func TestAFloodOfAddressesFillsNoMemory(t *testing.T) {
	a := newAddresses(0, 1)
	known := netip.MustParseAddr("192.0.2.1")
	addr := func(i int) netip.Addr {
		return netip.AddrFrom16([16]byte{0x20, 1, 2: byte(i >> 24), 3: byte(i >> 16), 4: byte(i >> 8), 5: byte(i)})
	}
	a.enter(known, 0)
	let, full := 0, 0
	for i := range 2 * addressTable {
		switch r := a.enter(addr(i), 500*time.Millisecond); r {
		case nil:
			let++
		case refuseAddressFull:
			full++
		default:
			t.Fatalf("refused: %+v", r)
		}
	}
	if let > addressTable || let < addressTable*9/10 || let+full != 2*addressTable {
		t.Errorf("%d were let in, %d not", let, full)
	}
	if r := a.enter(known, 900*time.Millisecond); r != refuseAddressRate {
		t.Errorf("one that was there before: %+v", r)
	}
	if r := a.enter(addr(3*addressTable), 3*time.Second); r != nil {
		t.Errorf("after the flood: %+v", r)
	}
}

// Whatever comes and goes, each address has the connections that it has, and an address without any has no entry.
func TestConnectionsOfAddressesAgainstAModel(t *testing.T) {
	const most = 3
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		a := newAddresses(most, 0)
		model := map[netip.Addr]int{}
		for range 2000 {
			addr := netip.MustParseAddr(fmt.Sprintf("192.0.2.%d", rnd.IntN(12)))
			switch {
			case rnd.IntN(2) == 0 && model[addr] > 0:
				a.leave(addr)
				model[addr]--
			default:
				r := a.enter(addr, 0)
				if (r == nil) != (model[addr] < most) || r != nil && r != refuseAddressMany {
					t.Fatalf("one more than %d: %+v", model[addr], r)
				}
				if r == nil {
					model[addr]++
				}
			}
			want, entries := int64(0), 0
			for _, n := range model {
				want += int64(n)
				entries += min(n, 1)
			}
			if of, n := a.counted(); of != entries || n != want {
				t.Fatalf("%d connections of %d addresses, want %d of %d", n, of, want, entries)
			}
		}
		for addr, n := range model {
			for range n {
				a.leave(addr)
			}
		}
		if !a.forgotten() {
			t.Fatal("something is kept")
		}
	}
}
