package session

// bucket is a token bucket: rate messages per second, burst at once. Its zero value is full.
type bucket struct {
	used   float32 // tokens taken and not yet given back
	at     uint32  // the time of the last take, in milliseconds; it wraps, differences do not mind
	denied uint16  // in a row
}

type verdict uint8

const (
	granted verdict = iota
	denied          // over the rate
	abused          // over the rate, a whole burst of times without a pause
)

// takeAbove takes one token at the time now, in milliseconds, if more than reserve are there.
func (b *bucket) takeAbove(now uint32, rate, burst, reserve int) bool {
	b.refill(now, rate)
	if b.used+1 > float32(burst-reserve) {
		return false
	}
	b.used++
	return true
}

func (b *bucket) refill(now uint32, rate int) {
	b.used = max(b.used-float32(now-b.at)/1000*float32(rate), 0)
	b.at = now
}

// take asks for one token at the time now, in milliseconds.
func (b *bucket) take(now uint32, rate, burst int) verdict {
	b.refill(now, rate)
	if b.used+1 <= float32(burst) {
		b.used++
		b.denied = 0
		return granted
	}
	if b.denied++; int(b.denied) > burst {
		return abused
	}
	return denied
}
