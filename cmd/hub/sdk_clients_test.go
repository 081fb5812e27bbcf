package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// sdk is one client of an SDK of Centrifugo, of whatever make.
type sdk struct {
	t       *testing.T
	name    string
	program *sdkProgram
	build   string // json or protobuf

	mu    sync.Mutex
	more  *sync.Cond
	seen  []sdkEvent // all that happened to it, in order
	taken int        // of seen, by until
}

// sdkEvent is what happened to a client. Events are connecting, connected, disconnected, error, and token where it asks
// for another one; and of a channel subscribing, subscribed, unsubscribed, publication, error and token.
type sdkEvent struct {
	Client, Event, Channel, Reason, Transport string

	Server bool // of a subscription that the client did not ask for
	Code   int
	Ask    int // the request that an answer is for
	sdkPublication
	Epoch                                 string
	WasRecovering, Recovered, Recoverable bool
	Publications                          []sdkPublication
	Users                                 []string // of a presence
	NumClients, NumUsers                  int      // of presenceStats
}

type sdkPublication struct {
	Data   string
	Offset uint64
	Tags   map[string]string
	User   string // who published it

	n    int // see number
	read bool
}

func (e sdkEvent) String() string {
	text := e.Event + " " + e.Channel
	if e.Server {
		text += " (server-side)"
	}
	if e.Code != 0 || e.Reason != "" {
		text += fmt.Sprintf(" %d %q", e.Code, e.Reason)
	}
	if e.WasRecovering {
		text += fmt.Sprint(" recovered ", e.Recovered)
	}
	return fmt.Sprintf("%s %.40s %s:%d", text, e.Data, e.Epoch, e.Offset)
}

// number is that of an event {"n":…}, 0 of any other.
func (p *sdkPublication) number() int {
	if !p.read {
		var e struct{ N int }
		_ = json.Unmarshal([]byte(p.Data), &e)
		p.n, p.read = e.N, true
	}
	return p.n
}

func (c *sdk) note(e sdkEvent) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = e.number() // once, as those who wait look at all that happened, again and again
	c.seen = append(c.seen, e)
	c.more.Broadcast()
}

// await returns when ok is true of what happened so far. It calls ok again whenever something happens.
func (c *sdk) await(what string, ok func(seen []sdkEvent) bool) {
	c.t.Helper()
	late := false
	timer := time.AfterFunc(patience, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		late = true
		c.more.Broadcast()
	})
	defer timer.Stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	for !ok(c.seen) {
		if late {
			c.t.Fatalf("%s: never %s:%s", c.name, what, lastOf(c.seen))
		}
		c.more.Wait()
	}
}

// lastOf are the last events, a line each.
func lastOf(seen []sdkEvent) (lines string) {
	for _, e := range seen[max(len(seen)-20, 0):] {
		lines += "\n\t" + e.String()
	}
	return lines
}

// until waits for an event and passes over those before it. A client that is away for good fails the test.
func (c *sdk) until(what string, fits func(e sdkEvent) bool) (found sdkEvent) {
	c.t.Helper()
	gone := false
	c.await(what, func(seen []sdkEvent) bool {
		for c.taken < len(seen) {
			e := seen[c.taken]
			c.taken++
			if fits(e) {
				found = e
				return true
			}
			if e.Event == "disconnected" {
				gone = true
				return true
			}
		}
		return false
	})
	if gone {
		c.t.Fatalf("%s: gone for good instead of %s:%s", c.name, what, lastOf(c.all()))
	}
	return found
}

// want waits for an event of a channel, or with "" of the connection.
func (c *sdk) want(event, channel string) sdkEvent {
	c.t.Helper()
	return c.until(event+" "+channel, func(e sdkEvent) bool { return e.Event == event && e.Channel == channel })
}

// ever waits until so many events of that kind and channel fit, whatever else happened before or behind them.
func (c *sdk) ever(times int, event, channel string, fits func(e sdkEvent) bool) {
	c.t.Helper()
	c.await(fmt.Sprint(times, " times ", event, " ", channel), func(seen []sdkEvent) bool {
		n := 0
		for _, e := range seen {
			if e.Event == event && e.Channel == channel && fits(e) {
				n++
			}
		}
		return n >= times
	})
}

// anyEvent fits every event.
func anyEvent(sdkEvent) bool { return true }

func (c *sdk) all() []sdkEvent {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.seen)
}

// count is how many events of that kind and channel there were.
func (c *sdk) count(event, channel string) (n int) {
	for _, e := range c.all() {
		if e.Event == event && e.Channel == channel {
			n++
		}
	}
	return n
}

// numbers are those of all publications of a channel.
func numbers(seen []sdkEvent, channel string) (list []int) {
	for _, e := range seen {
		if e.Event == "publication" && e.Channel == channel {
			list = append(list, e.number())
		}
	}
	return list
}

// wantNumbers waits until the client got the events from first to last of a channel, and fails if it did not get each of
// them once and in order.
func (c *sdk) wantNumbers(channel string, first, last int) {
	c.t.Helper()
	got, want := []int(nil), span(first, last)
	c.await(fmt.Sprintf("%s has %d to %d", channel, first, last), func(seen []sdkEvent) bool {
		got = numbers(seen, channel)
		return slices.Contains(got, last) || last < first
	})
	if !slices.Equal(got, want) {
		c.t.Errorf("%s: %s: got %v, want %d to %d", c.name, channel, got, first, last)
	}
}

// span are the numbers from first to last.
func span(first, last int) (list []int) {
	for n := first; n <= last; n++ {
		list = append(list, n)
	}
	return list
}

// sign makes a token of these claims, good for ttl.
func sign(t *testing.T, ttl time.Duration, claims jwt.MapClaims) string {
	t.Helper()
	now := time.Now()
	all := jwt.MapClaims{"iat": now.Unix(), "exp": now.Add(ttl).Unix()}
	for name, value := range claims {
		all[name] = value
	}
	text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, all).SignedString([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	return text
}
