package session

// bucket is a token bucket: rate messages per second, burst at once. Its zero value is full.
type bucket struct {
	used   float32 // tokens taken and not yet given back
	excess float32 // tokens asked for in vain and not yet forgiven, which takes a third longer than to give tokens back
	at     uint32  // the time of the last take, in milliseconds; it wraps, differences do not mind
}

type verdict uint8

const (
	granted verdict = iota
	denied          // over the rate
	abused          // so far over the rate, for so long, that a whole burst of denials is not forgiven
)

// spendAbove spends one token at the time now, in milliseconds, if more than reserve are there.
func (b *bucket) spendAbove(now uint32, rate, burst, reserve int) bool {
	b.refill(now, rate)
	if b.used+1 > float32(burst-reserve) {
		return false
	}
	b.used++
	return true
}

func (b *bucket) refill(now uint32, rate int) {
	back := float32(now-b.at) / 1000 * float32(rate)
	b.used = max(b.used-back, 0)
	b.excess = max(b.excess-back*3/4, 0) // twice the rate is too much for ever, half as much again is not
	b.at = now
}

// spend asks for n tokens at the time now, in milliseconds, a burst at most. A caller that keeps asking for twice the
// rate or more is abusing it, however the requests are spread over time.
func (b *bucket) spend(now uint32, rate, burst, n int) verdict {
	b.refill(now, rate)
	want := float32(min(n, burst))
	if b.used+want <= float32(burst) {
		b.used += want
		return granted
	}
	if b.excess += want; b.excess > float32(burst) {
		return abused
	}
	return denied
}
