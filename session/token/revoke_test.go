package token

import (
	"strconv"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestRevocationsRefuseOlderTokens(t *testing.T) {
	now := epoch
	r := NewRevocations(0, func() time.Time { return now })
	if r.Revoked("42", "s_1", epoch) {
		t.Error("revoked by nobody")
	}
	if err := r.Apply(
		Revocation{UserSubject("42"), epoch, epoch.Add(time.Hour)},
		Revocation{SessionSubject("s_1"), epoch, epoch.Add(time.Hour)},
	); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		user, session string
		issued        time.Time
		want          bool
	}{
		{"42", "", epoch.Add(-time.Hour), true},
		{"42", "", epoch, true},
		{"42", "", time.Time{}, true},
		{"42", "", epoch.Add(time.Second), false},
		{"43", "", epoch.Add(-time.Hour), false},
		{"43", "s_1", epoch.Add(-time.Hour), true},
		{"43", "s_1", epoch.Add(time.Second), false},
		{"", "s_1", epoch, true},
		{"s_1", "42", epoch, false},
		{"", "", epoch, false},
	} {
		if got := r.Revoked(c.user, c.session, c.issued); got != c.want {
			t.Errorf("Revoked(%q, %q, %s) = %t", c.user, c.session, c.issued, got)
		}
	}
	now = epoch.Add(time.Hour)
	if r.Revoked("42", "s_1", epoch) {
		t.Error("an expired revocation holds")
	}
}

func TestRevocationsAreBounded(t *testing.T) {
	now := epoch
	r := NewRevocations(3, func() time.Time { return now })
	entry := func(i int, d time.Duration) Revocation {
		return Revocation{UserSubject(strconv.Itoa(i)), now, now.Add(d)}
	}
	if err := r.Apply(entry(1, time.Minute), entry(2, time.Hour), entry(3, time.Hour), entry(0, 0)); err != nil {
		t.Error(err)
	}
	if err := r.Apply(entry(1, 2*time.Minute), entry(4, time.Hour), entry(5, time.Hour)); err == nil {
		t.Error("five found room")
	}
	if !r.Revoked("1", "", now) || r.Revoked("4", "", now) || r.Len() != 3 {
		t.Error("those that held do not, or those that found no room do")
	}
	now = now.Add(2 * time.Minute)
	if err := r.Apply(entry(4, time.Hour)); err != nil || !r.Revoked("4", "", now) || r.Len() != 3 {
		t.Errorf("an expired one made no room: %v", err)
	}
	if err := r.Replace([]Revocation{entry(5, time.Hour)}); err != nil || r.Len() != 1 || r.Revoked("2", "", epoch) || !r.Revoked("5", "", now) {
		t.Errorf("Replace: %v", err)
	}
}

func TestExpiredRevocationsAreForgotten(t *testing.T) {
	now := epoch
	r := NewRevocations(0, func() time.Time { return now })
	for i := range 50_000 {
		if err := r.Apply(Revocation{UserSubject(strconv.Itoa(i)), now, now.Add(time.Minute)}); err != nil {
			t.Fatal(err)
		}
		now = now.Add(time.Second)
	}
	if n := r.Len(); n > 2048 {
		t.Errorf("%d are held, 60 hold", n)
	}
}

func TestRevocationsMeanWhatAListDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := epoch
		r := NewRevocations(1000, func() time.Time { return now })
		var all []Revocation
		second := rapid.IntRange(0, 20)
		after := func(label string) time.Time { return epoch.Add(time.Duration(second.Draw(t, label)) * time.Second) }
		users := rapid.SampledFrom([]string{"a", "b", "c"})
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			at := after("at")
			// Until is the same distance from At, as every broker's is: then later times hold for both.
			v := Revocation{UserSubject(users.Draw(t, "user")), at, at.Add(5 * time.Second)}
			if now.Before(v.Until) {
				all = append(all, v)
			}
			if err := r.Apply(v); err != nil {
				t.Fatal(err)
			}
			user, issued := users.Draw(t, "asked"), after("issued")
			var latest Revocation
			for _, v := range all {
				if v.Subject == UserSubject(user) && v.At.After(latest.At) {
					latest = v
				}
			}
			want := !issued.After(latest.At) && now.Before(latest.Until)
			if got := r.Revoked(user, "", issued); got != want {
				t.Fatalf("Revoked(%s, %s) = %t, revoked at %s", user, issued, got, latest.At)
			}
			now = now.Add(time.Duration(rapid.IntRange(0, 3).Draw(t, "pass")) * time.Second)
		}
	})
}

func TestRevocationsMayBeReadWhileTheyChange(t *testing.T) {
	r := NewRevocations(100, nil)
	var all sync.WaitGroup
	for g := range 4 {
		all.Go(func() {
			for i := range 1000 {
				if g == 0 {
					_ = r.Apply(Revocation{UserSubject(strconv.Itoa(i)), time.Now(), time.Now().Add(time.Hour)})
				} else {
					r.Revoked(strconv.Itoa(i), "s", time.Now())
				}
			}
		})
	}
	all.Wait()
	if r.Len() != 100 {
		t.Errorf("%d are held", r.Len())
	}
}
