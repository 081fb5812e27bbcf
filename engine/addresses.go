package engine

import (
	"fmt"
	"hash/maphash"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// addresses bounds the connections and the handshakes of each client address; of IPv6, of each /64, which is the least
// that one subscriber has. Loops share it: an address' connections are on all of them. It is asked when a handshake
// has come whole, and told when a connection gives its place back; never in between.
//
// An address has an entry only as long as it has connections, or would be refused another handshake at once. So
// connections bound the entries of the first kind, and addressTable those of the second: over it, addresses that have
// none are refused.
type addresses struct {
	// Fixed at birth.
	most     int           // connections of one address; 0: any number
	interval time.Duration // between handshakes of one address that go on and on; 0: any rate
	seed     maphash.Seed

	shards [addressShards]addressShard
}

const (
	addressShards = 64
	// addressTable bounds the addresses that come within two seconds, with --handshake-rate-per-address: some 10 MB.
	addressTable = 1 << 18
	// addressBurst is the time whose handshakes may come at once.
	addressBurst = time.Second
)

// addressKey is an IPv4 address, or an IPv6 one's /64. Those of IPv4 stand where IPv6 has its multicast, from which no
// client comes.
type addressKey uint64

func keyOf(addr netip.Addr) (key addressKey) {
	b := addr.As16()
	part := b[:8]
	if addr.Is4() || addr.Is4In6() {
		b[8], b[9] = 0xff, 0xff
		part = b[8:]
	}
	for _, c := range part {
		key = key<<8 | addressKey(c)
	}
	return key
}

// addressShard has the entries of some addresses.
type addressShard struct {
	mu   sync.Mutex
	open map[addressKey]int32 // connections
	// Until when handshakes that came at the rate would have lasted: those who came in this second or so, and in the one
	// before. Whoever is in neither may come at once.
	recent, older map[addressKey]time.Duration
	turned        time.Duration // when older was recent
}

// The refusals of an address. 429 and not 503: a proxy would try the other hubs for a client that is to wait.
var (
	refuseAddressRate = refuseNamed("address_rate", http.StatusTooManyRequests, "too many handshakes from your address, try again later", "Retry-After", "1")
	refuseAddressMany = refuseNamed("address_connections", http.StatusTooManyRequests, "too many connections from your address, try again later", "Retry-After", "5")
	refuseAddressFull = refuseNamed("address_table_full", http.StatusServiceUnavailable, "too many addresses at once, try again later", "Retry-After", "2")
)

// newAddresses returns nil where nothing is bounded.
func newAddresses(most, rate int) *addresses {
	if most == 0 && rate == 0 {
		return nil
	}
	a := &addresses{most: most, seed: maphash.MakeSeed()}
	if rate > 0 {
		a.interval = max(time.Second/time.Duration(rate), 1)
	}
	return a
}

func (a *addresses) shard(key addressKey) *addressShard {
	return &a.shards[maphash.Comparable(a.seed, key)%addressShards]
}

// enter counts a handshake of addr at the age now, and its connection, unless it is refused.
func (a *addresses) enter(addr netip.Addr, now time.Duration) *Refusal {
	key := keyOf(addr)
	s := a.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if a.interval > 0 {
		if r := s.pace(key, now, a.interval); r != nil {
			return r
		}
	}
	if a.most > 0 {
		if int(s.open[key]) >= a.most {
			return refuseAddressMany
		}
		if s.open == nil {
			s.open = make(map[addressKey]int32)
		}
		s.open[key]++
	}
	return nil
}

// leave takes back a connection that enter counted.
func (a *addresses) leave(addr netip.Addr) {
	if a.most == 0 {
		return
	}
	key := keyOf(addr)
	s := a.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[key]--; s.open[key] > 0 {
		return
	}
	if delete(s.open, key); len(s.open) == 0 {
		s.open = nil // a map keeps the memory of its largest time
	}
}

// pace counts a handshake against the rate.
func (s *addressShard) pace(key addressKey, now, interval time.Duration) *Refusal {
	s.turn(now)
	until, known := s.recent[key]
	if !known {
		until, known = s.older[key]
	}
	until = max(until, now) + interval
	switch {
	case until > now+addressBurst:
		return refuseAddressRate
	case !known && len(s.recent)+len(s.older) >= addressTable/addressShards:
		return refuseAddressFull
	}
	if s.recent == nil {
		s.recent = make(map[addressKey]time.Duration)
	}
	s.recent[key] = until
	return nil
}

// turn forgets those of whom nothing was heard for addressBurst or longer.
func (s *addressShard) turn(now time.Duration) {
	switch idle := now - s.turned; {
	case idle < addressBurst:
		return
	case idle < 2*addressBurst:
		s.older = s.recent
	default:
		s.older = nil
	}
	s.recent, s.turned = nil, now
}

// sweep forgets what one of so many loops has to.
func (a *addresses) sweep(loop, loops int, now time.Duration) {
	for i := loop; i < len(a.shards); i += loops {
		s := &a.shards[i]
		s.mu.Lock()
		s.turn(now)
		s.mu.Unlock()
	}
}

// enter takes a place for c, whose handshake has come whole: for its address, and one of all.
func (s *Server) enter(c *Conn) *Refusal {
	if s.addresses != nil {
		if r := s.addresses.enter(c.client(), c.loop.age); r != nil {
			c.loop.count.sources.Add(r.Name)
			return s.explained(r)
		}
	}
	if !s.room.enter() {
		if s.addresses != nil {
			s.addresses.leave(c.client())
		}
		return refuseFull
	}
	return nil
}

// leave gives back what enter took.
func (s *Server) leave(c *Conn) {
	s.room.connections.Add(-1)
	if s.addresses != nil {
		s.addresses.leave(c.client())
	}
}

// explained is r for an operator to understand.
func (s *Server) explained(r *Refusal) *Refusal {
	full := *r
	switch r {
	case refuseAddressRate:
		full.Detail = fmt.Sprintf("more than %d in a second", s.cfg.AddressRate)
	case refuseAddressMany:
		full.Detail = fmt.Sprintf("it has %d", s.cfg.MaxPerAddress)
	}
	return &full
}
