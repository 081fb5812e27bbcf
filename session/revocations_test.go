package session

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"wshub/pubsub"
	"wshub/session/token"
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
		if got := r.refuses(c.subject, unixMicro(c.issued), token.Fingerprint{}, c.now); got != c.want {
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
	last := at.Add(9_999 * time.Second)
	refuses := func(subject string, issued time.Time) bool {
		return r.refuses(subject, issued.UnixMicro(), token.Fingerprint{}, last)
	}
	if !refuses("user:9999", last) || !refuses("user:9950", last.Add(-time.Hour)) {
		t.Error("one that holds is forgotten")
	}
}

// Whatever the order in which revocations come, and however often: the same tokens are refused, and what comes again
// is no change.
func TestRevocationsAreJoinedInAnyOrder(t *testing.T) {
	now := time.Now()
	rapid.Check(t, func(rt *rapid.T) {
		moment := rapid.Custom(func(t *rapid.T) time.Time {
			return now.Add(time.Duration(rapid.IntRange(-5, 5).Draw(t, "s")) * time.Second)
		})
		one := rapid.Custom(func(t *rapid.T) pubsub.Revocation {
			v := pubsub.Revocation{Subject: rapid.SampledFrom([]string{"user:1", "user:2"}).Draw(t, "of"), At: moment.Draw(t, "at"), Until: moment.Draw(t, "until").Add(6 * time.Second)}
			if rapid.Bool().Draw(t, "new") {
				v.Before, v.InUse = moment.Draw(t, "before"), rapid.Bool().Draw(t, "in use")
			}
			for range rapid.IntRange(0, 2).Draw(t, "n") {
				v.Tokens = append(v.Tokens, token.Fingerprint{rapid.Byte().Draw(t, "token") % 8}.String())
			}
			return v
		})
		list := rapid.SliceOfN(one, 1, 6).Draw(rt, "list")
		other := rapid.Permutation(list).Draw(rt, "other")
		var a, b revocations
		a.add(list, now)
		for _, v := range other {
			b.add([]pubsub.Revocation{v}, now)
		}
		if changes := a.add(other, now); len(changes) > 0 {
			rt.Errorf("again: %+v", changes)
		}
		for s := -6; s < 7; s++ {
			for f := range byte(8) {
				issued, mark := now.Add(time.Duration(s)*time.Second), token.Fingerprint{f}
				for _, subject := range []string{"user:1", "user:2"} {
					ticket := token.Resume{Issued: issued}
					x, y := a.refuses(subject, issued.UnixMicro(), mark, now), b.refuses(subject, issued.UnixMicro(), mark, now)
					z, w := a.refusesResume(subject, ticket, now), b.refusesResume(subject, ticket, now)
					want := slices.ContainsFunc(list, func(v pubsub.Revocation) bool {
						return v.Subject == subject && now.Before(v.Until) && readRevocation(v).refusesAlone(issued.UnixMicro(), mark)
					})
					if x != y || z != w || x != want {
						rt.Errorf("%s, issued at %+d s: %v and %v, want %v; resumed: %v and %v", subject, s, x, y, want, z, w)
					}
				}
			}
		}
	})
}

func (r refused) refusesAlone(issued int64, f token.Fingerprint) bool {
	return issued < r.before || slices.Contains(r.tokens, f)
}

func TestRefusedTokensAreBounded(t *testing.T) {
	var r revocations
	now := time.Now()
	v := pubsub.Revocation{Subject: "user:42", At: now, Until: now.Add(time.Hour), Before: now.Truncate(time.Second), InUse: true}
	for i := range 2 * maxRefusedTokens {
		v.Tokens = append(v.Tokens, token.Fingerprint{1, byte(i), byte(i >> 8)}.String())
	}
	for part := range slices.Chunk(v.Tokens, 1000) {
		w := v
		w.Tokens = part
		r.add([]pubsub.Revocation{w}, now)
	}
	if n := len(r.held["user:42"].tokens); n != maxRefusedTokens {
		t.Errorf("%d are held", n)
	}
	if !r.refuses("user:42", now.UnixMicro(), token.Fingerprint{}, now) || r.refuses("user:42", now.Add(2*time.Second).UnixMicro(), token.Fingerprint{}, now) {
		t.Error("over the bound all are refused that were issued until now")
	}
}

// FuzzRevocation: whatever the broker brings, nobody panics, and what is over or without sense refuses nobody.
func FuzzRevocation(f *testing.F) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, seed := range []string{
		`{"subject":"user:42","at":"2026-03-01T11:00:00Z","until":"2026-03-02T11:00:00Z"}`,
		`{"subject":"user:42","at":"2026-03-01T11:00:00Z","until":"2026-03-02T11:00:00Z","before":"2026-03-01T11:00:00Z","in_use":true}`,
		`{"subject":"user:42","at":"2026-03-01T11:00:00Z","until":"9999-03-02T11:00:00Z","before":"0001-01-01T00:00:00Z","tokens":["x","AAAAAAAAAAAAAAAAAAAAAA"]}`,
		`{"subject":"session:s_1"}`, `{"until":"9999-12-31T23:59:59Z","at":"9999-12-31T23:59:59Z"}`, `[]`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var v pubsub.Revocation
		if json.Unmarshal(text, &v) != nil {
			t.Skip()
		}
		var r revocations
		changes := r.add([]pubsub.Revocation{v, v}, now)
		_ = targetOf(v.Subject)
		refuses := r.refuses(v.Subject, now.UnixMicro(), token.Fingerprint{}, now)
		if len(changes) > 1 || refuses && !now.Before(v.Until) || r.refuses("user:another", 0, token.Fingerprint{}, now) && v.Subject != "user:another" {
			t.Fatalf("%+v: %d changes, refuses %v", v, len(changes), refuses)
		}
	})
}

// TestAllRevocationsThatHoldAreToldWhileOthersCome goes through them while some are added.
func TestAllRevocationsThatHoldAreToldWhileOthersCome(t *testing.T) {
	const held = 3*heldBatch + 1
	var r revocations
	now := time.Now()
	for i := range held {
		r.add([]pubsub.Revocation{{Subject: "user:" + strconv.Itoa(i), At: now, Until: now.Add(time.Hour)}}, now)
	}
	r.add([]pubsub.Revocation{{Subject: "over", At: now, Until: now}}, now)
	told := map[string]int{}
	r.all(now, func(v pubsub.Revocation) bool {
		told[v.Subject]++
		r.add([]pubsub.Revocation{{Subject: "new:" + strconv.Itoa(len(told)%5), At: now, Until: now.Add(time.Hour)}}, now)
		return true
	})
	for i := range held {
		if n := told["user:"+strconv.Itoa(i)]; n != 1 {
			t.Errorf("user %d was told %d times", i, n)
		}
	}
	if told["over"] > 0 {
		t.Error("one that is over was told")
	}
	n := 0
	r.all(now, func(pubsub.Revocation) bool { n++; return n < 2 })
	if n != 2 {
		t.Errorf("%d were told to one who wanted 2", n)
	}
}

// A broker that has lost its list gets back what it had, to the letter, so that it does not grow by each loss.
func TestARevocationIsToldAsItWasMade(t *testing.T) {
	for _, before := range []time.Time{{}, time.Now().Add(-time.Minute)} {
		b := &toldBroker{Memory: pubsub.NewMemory(pubsub.MemoryConfig{})}
		hub, err := newHub(Config{}, b)
		if err != nil {
			t.Fatal(err)
		}
		if err := hub.Revoke(t.Context(), Target{User: "42"}, before); err != nil {
			t.Fatal(err)
		}
		var held []pubsub.Revocation
		hub.HeldRevocations(func(v pubsub.Revocation) bool { held = append(held, v); return true })
		got, _ := json.Marshal(held)
		want, _ := json.Marshal(b.told)
		if string(got) != string(want) {
			t.Errorf("held %s, made %s", got, want)
		}
	}
}

// toldBroker notes what is revoked.
type toldBroker struct {
	*pubsub.Memory
	told []pubsub.Revocation
}

func (b *toldBroker) Revoke(_ context.Context, v pubsub.Revocation) error {
	b.told = append(b.told, v)
	return nil
}
