package session

import (
	"strconv"
	"testing"
	"time"

	"wshub/pubsub"
)

func TestRevocationsRefuseWhatWasIssuedBefore(t *testing.T) {
	var r revocations
	at := time.Now()
	until := at.Add(time.Hour)
	revoke := func(ago, life time.Duration) {
		r.add([]pubsub.Revocation{{Subject: "user:42", At: at.Add(-ago), Until: at.Add(life)}}, at)
	}
	for _, c := range []struct {
		what    string
		do      func()
		subject string
		issued  time.Time
		now     time.Time
		want    bool
	}{
		{"nothing is revoked", func() {}, "user:42", at, at, false},
		{"issued before", func() { revoke(0, time.Hour) }, "user:42", at.Add(-time.Second), at, true},
		{"issued in the same second", func() {}, "user:42", at.Truncate(time.Second), at, true},
		{"issued after", func() {}, "user:42", at.Add(time.Second), at, false},
		{"it does not say when", func() {}, "user:42", time.Time{}, at, true},
		{"another user's", func() {}, "user:4", at.Add(-time.Second), at, false},
		{"a session of that name", func() {}, "session:42", at.Add(-time.Second), at, false},
		{"an earlier one comes later", func() { revoke(time.Hour, time.Minute) }, "user:42", at.Add(-time.Second), at, true},
		{"a later one ends sooner", func() { revoke(-time.Second, time.Minute) }, "user:42", at, until.Add(-1), true},
		{"it still holds", func() {}, "user:42", at, until.Add(-1), true},
		{"it is over", func() {}, "user:42", at, until, false},
		{"over, without a time", func() {}, "user:42", time.Time{}, until, false},
	} {
		c.do()
		if got := r.refuses(c.subject, c.issued, c.now); got != c.want {
			t.Errorf("%s: %v", c.what, got)
		}
	}
}

func TestRevocationsThatAreOverAreForgotten(t *testing.T) {
	var r revocations
	at := time.Now()
	for i := range 10_000 {
		now := at.Add(time.Duration(i) * time.Second)
		r.add([]pubsub.Revocation{{Subject: "user:" + strconv.Itoa(i), At: now, Until: now.Add(time.Minute)}}, now)
		if len(r.held) > 1100 {
			t.Fatalf("%d are held of 60", len(r.held))
		}
	}
	if last := at.Add(9_999 * time.Second); !r.refuses("user:9999", last, last) || !r.refuses("user:9950", last.Add(-time.Hour), last) {
		t.Error("one that holds is forgotten")
	}
}
