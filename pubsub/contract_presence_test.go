package pubsub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// contractPresence is the presence of brokers of the suite.
var contractPresence = PresenceConfig{
	Match:     func(topic string) bool { return strings.HasPrefix(topic, "p:") },
	EventsMax: 10,
}

// presenceContract is what testContract asks of topics with presence.
var presenceContract = []claim{
	{"who enters and leaves is told, first and last of a user too", entersAndLeaves},
	{"a topic without presence has none", noPresence},
	{"a member that is none is refused, and the others of its batch are not", badMembers},
	{"a session that comes back tells nobody", comesBack},
	{"a session of another user is another member", otherUser},
	{"a late leave of an older generation does nothing", lateLeave},
	{"generations count on behind the last number", generationsWrap},
	{"a crowd is told by counts", crowd},
	{"pages show each member once", pagedPresence},
	{"a member that is there all the time is on a page, whoever comes and goes", pagesThatMove},
	{"presence and its changes fold to the truth", presenceFolds},
}

func generationsWrap(t *testing.T, b Broker, _ recorder) {
	of := func(c Change, generation uint32) Change {
		c.Member.Generation = generation
		return c
	}
	const late = 1<<32 - 10
	mustChange(t, b, of(enter("p:wrap", "s_1", "7"), late), of(enter("p:wrap", "s_1", "7"), 5), of(leave("p:wrap", "s_1"), late))
	if p := mustRead(t, b, "p:wrap", "", 10); p.Clients != 1 || p.Members[0].Generation != 5 {
		t.Errorf("the leave of an earlier connection took a later one off: %+v", p)
	}
	mustChange(t, b, of(leave("p:wrap", "s_1"), 5))
	if p := mustRead(t, b, "p:wrap", "", 10); p.Clients != 0 {
		t.Errorf("left, and there: %+v", p)
	}
}

func enter(topic, session, user string) Change {
	return Change{Topic: topic, Member: Member{Session: session, User: user}}
}

func leave(topic, session string) Change {
	return Change{Topic: topic, Member: Member{Session: session}, Leave: true}
}

// mustChange makes changes, all of which must succeed.
func mustChange(t testing.TB, b Broker, changes ...Change) {
	t.Helper()
	for i, err := range b.ChangePresence(context.Background(), changes) {
		if err != nil {
			t.Fatalf("%+v: %v", changes[i], err)
		}
	}
}

func mustRead(t testing.TB, b Broker, topic, after string, limit int) Presence {
	t.Helper()
	p, err := b.ReadPresence(context.Background(), topic, after, limit)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// moved waits for the next step, which must be a change of topic's presence.
func (r recorder) moved(t testing.TB, topic string) *Moved {
	t.Helper()
	d := r.next(t)
	if d.moved == nil || d.topic != topic {
		t.Fatalf("got %s, want a change of %s's presence", d, topic)
	}
	return d.moved
}

// wantMoved waits for a change that looks so: + or -, session, user, first or last, clients, users.
func wantMoved(t testing.TB, sink recorder, topic, want string) *Moved {
	t.Helper()
	m := sink.moved(t, topic)
	if got := describe(m); got != want {
		t.Fatalf("got %s, want %s", got, want)
	}
	return m
}

func describe(m *Moved) string {
	sign, end := "+", ""
	switch {
	case m.Counted:
		return fmt.Sprintf("= %d %d", m.Clients, m.Users)
	case m.Left:
		sign = "-"
	}
	if m.First {
		end += " first"
	}
	if m.Last {
		end += " last"
	}
	return fmt.Sprintf("%s%s %s%s %d %d", sign, m.Member.Session, m.Member.User, end, m.Clients, m.Users)
}

// sessions are those of p's page, sorted.
func sessions(p Presence) string {
	var list []string
	for _, m := range p.Members {
		list = append(list, m.Session)
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

func entersAndLeaves(t *testing.T, b Broker, sink recorder) {
	mustFollow(t, b, "p:room", 3)
	info := json.RawMessage(`{"name":"A\u00e9"}`)
	mustChange(t, b,
		Change{Topic: "p:room", Member: Member{Session: "s1", User: "u", Info: info}},
		enter("p:room", "s2", "u"), enter("p:room", "s3", ""))
	one := wantMoved(t, sink, "p:room", "+s1 u first 1 1")
	if string(one.Member.Info) != string(info) || one.Member.Since == 0 || one.Version.Epoch == 0 || one.Version.Number == 0 {
		t.Errorf("got %+v", one)
	}
	two := wantMoved(t, sink, "p:room", "+s2 u 2 1")
	three := wantMoved(t, sink, "p:room", "+s3  3 1")
	if !two.Version.Follows(one.Version) || !three.Version.Follows(two.Version) {
		t.Errorf("versions %v, %v, %v", one.Version, two.Version, three.Version)
	}
	p := mustRead(t, b, "p:room", "", 100)
	if sessions(p) != "s1 s2 s3" || p.Clients != 3 || p.Users != 1 || p.Next != "" || p.Version != three.Version {
		t.Errorf("got %+v", p)
	}
	for _, m := range p.Members {
		if m.Session == "s1" && (m.User != "u" || string(m.Info) != string(info) || m.Since != one.Member.Since) {
			t.Errorf("got %+v", m)
		}
	}
	if counts := mustRead(t, b, "p:room", "", 0); counts.Clients != 3 || counts.Users != 1 || counts.Members != nil {
		t.Errorf("got %+v", counts)
	}
	mustChange(t, b, leave("p:room", "s1"), leave("p:room", "s1"), leave("p:room", "s2"), leave("p:room", "s3"))
	wantMoved(t, sink, "p:room", "-s1 u 2 1")
	wantMoved(t, sink, "p:room", "-s2 u last 1 0")
	wantMoved(t, sink, "p:room", "-s3  0 0")
	if p := mustRead(t, b, "p:room", "", 100); p.Clients != 0 || p.Users != 0 || len(p.Members) > 0 {
		t.Errorf("got %+v", p)
	}
}

func noPresence(t *testing.T, b Broker, _ recorder) {
	if _, err := b.ReadPresence(context.Background(), "c:none", "", 10); !errors.Is(err, ErrNoPresence) {
		t.Errorf("got %v", err)
	}
	if err := b.ChangePresence(context.Background(), []Change{enter("c:none", "s", "u")})[0]; !errors.Is(err, ErrNoPresence) {
		t.Errorf("got %v", err)
	}
	if p := mustRead(t, b, "p:nobody was here", "", 10); p.Clients != 0 || p.Members != nil {
		t.Errorf("got %+v", p)
	}
}

func badMembers(t *testing.T, b Broker, sink recorder) {
	mustFollow(t, b, "p:bad", 1)
	long := strings.Repeat("x", MaxMemberName+1)
	with := func(info string) Change {
		return Change{Topic: "p:bad", Member: Member{Session: "s", Info: json.RawMessage(info)}}
	}
	batch := []Change{
		enter("p:bad", "first", "u"),
		enter("p:bad", "", "u"), enter("p:bad", "\n", "u"), enter("p:bad", "\xff", "u"), enter("p:bad", long, "u"),
		enter("p:bad", "s", long), enter("p:bad", "s", "\x00"),
		with("{"), with("\"\xff\""), with(`"` + strings.Repeat("x", MaxMemberInfo) + `"`),
		leave("p:bad", long),
		enter("p:bad", "last", "u"),
	}
	for i, err := range b.ChangePresence(context.Background(), batch) {
		if good := i == 0 || i == len(batch)-1; good && err != nil || !good && !errors.Is(err, ErrBadMember) {
			t.Errorf("change %d: %v", i, err)
		}
	}
	wantMoved(t, sink, "p:bad", "+first u first 1 1")
	wantMoved(t, sink, "p:bad", "+last u 2 1")
	for _, after := range []string{"x", "-1", "1:\n", ":", "99999999999999999999"} {
		if _, err := b.ReadPresence(context.Background(), "p:bad", after, 10); !errors.Is(err, ErrBadPage) {
			t.Errorf("after %q: %v", after, err)
		}
	}
}

func comesBack(t *testing.T, b Broker, sink recorder) {
	mustFollow(t, b, "p:back", 1)
	mustChange(t, b, enter("p:back", "s", "u"))
	was := wantMoved(t, sink, "p:back", "+s u first 1 1")
	again := enter("p:back", "s", "u")
	again.Member.Generation, again.Member.Info = 1, json.RawMessage(`"new"`)
	mustChange(t, b, again, enter("p:back", "other", "u"))
	wantMoved(t, sink, "p:back", "+other u 2 1")
	for _, m := range mustRead(t, b, "p:back", "", 10).Members {
		if m.Session == "s" && (string(m.Info) != `"new"` || m.Since != was.Member.Since) {
			t.Errorf("got %+v", m)
		}
	}
}

func otherUser(t *testing.T, b Broker, sink recorder) {
	mustFollow(t, b, "p:other", 1)
	mustChange(t, b, enter("p:other", "s", "u"), enter("p:other", "s", "v"))
	wantMoved(t, sink, "p:other", "+s u first 1 1")
	wantMoved(t, sink, "p:other", "-s u last 0 0")
	wantMoved(t, sink, "p:other", "+s v first 1 1")
}

func lateLeave(t *testing.T, b Broker, sink recorder) {
	mustFollow(t, b, "p:late", 1)
	back := enter("p:late", "s", "u")
	back.Member.Generation = 2
	older := enter("p:late", "s", "w")
	older.Member.Generation = 1
	mustChange(t, b, enter("p:late", "s", "u"), back, leave("p:late", "s"), older, enter("p:late", "other", "v"))
	wantMoved(t, sink, "p:late", "+s u first 1 1")
	wantMoved(t, sink, "p:late", "+other v first 2 2")
	now := leave("p:late", "s")
	now.Member.Generation = 2
	mustChange(t, b, now)
	wantMoved(t, sink, "p:late", "-s u last 1 1")
}

func crowd(t *testing.T, b Broker, sink recorder) {
	mustFollow(t, b, "p:crowd", 1)
	limit := contractPresence.EventsMax
	for i := range limit + 2 {
		mustChange(t, b, enter("p:crowd", fmt.Sprint("s", i), "u"))
	}
	var last Version
	for i := range limit + 2 {
		m := sink.moved(t, "p:crowd")
		if m.Counted != (i >= limit) || m.Clients != i+1 || m.Counted && m.Member.Session != "" || last.Epoch != 0 && !m.Version.Follows(last) {
			t.Errorf("member %d: %+v", i, m)
		}
		last = m.Version
	}
	mustChange(t, b, leave("p:crowd", "s0"), leave("p:crowd", "s1"))
	wantMoved(t, sink, "p:crowd", fmt.Sprintf("= %d 1", limit+1))
	wantMoved(t, sink, "p:crowd", fmt.Sprintf("-s1 u %d 1", limit))
}

// pages reads topic to its end, in pages of limit, and calls between after each. It returns how often each session was
// there.
func pages(t testing.TB, b Broker, topic string, limit int, between func()) map[string]int {
	t.Helper()
	seen, after := map[string]int{}, ""
	for range 10_000 {
		p := mustRead(t, b, topic, after, limit)
		if len(p.Members) > limit {
			t.Fatalf("a page of %d, %d were asked for", len(p.Members), limit)
		}
		for _, m := range p.Members {
			seen[m.Session]++
		}
		if after = p.Next; after == "" {
			return seen
		}
		between()
	}
	t.Fatal("the pages do not end")
	return nil
}

func pagedPresence(t *testing.T, b Broker, _ recorder) {
	for _, n := range []int{1, 7, 100, 500} {
		topic := fmt.Sprint("p:pages:", n)
		var batch []Change
		for i := range n {
			batch = append(batch, enter(topic, fmt.Sprint("s", i), ""))
		}
		mustChange(t, b, batch...)
		for _, limit := range []int{1, 7, 100, 1000} {
			if n/limit > 100 {
				continue
			}
			seen := pages(t, b, topic, limit, func() {})
			if len(seen) != n || slices.Max(slices.Collect(maps.Values(seen))) != 1 {
				t.Errorf("%d members in pages of %d: %d different, %v", n, limit, len(seen), seen)
			}
		}
	}
}

// pagesThatMove stays on one side of the size at which Redis holds a hash otherwise.
func pagesThatMove(t *testing.T, b Broker, _ recorder) {
	for _, n := range []int{40, 400} {
		topic := fmt.Sprint("p:moving:", n)
		var batch []Change
		for i := range n {
			batch = append(batch, enter(topic, fmt.Sprint("s", i), ""))
		}
		mustChange(t, b, batch...)
		i := 0
		seen := pages(t, b, topic, 10, func() {
			mustChange(t, b, leave(topic, fmt.Sprint("s", i)), enter(topic, fmt.Sprint("new", i), ""))
			i += 2
		})
		for k := range n {
			if s := fmt.Sprint("s", k); seen[s] == 0 && (k%2 == 1 || k >= i) {
				t.Errorf("%s is on no page", s)
			}
		}
	}
}

// presenceFolds changes at random, and holds what is told and what is read to a model.
func presenceFolds(t *testing.T, b Broker, sink recorder) {
	mustFollow(t, b, "p:fold", 0)
	rapid.Check(t, func(rt *rapid.T) {
		type entry struct {
			user       string
			generation uint32
		}
		model, users := map[string]entry{}, map[string]int{}
		var told Version
		expect := func(session, user string, left bool) {
			users[user]--
			if !left {
				users[user] += 2
			}
			n := 0
			for user, sessions := range users {
				if user != "" && sessions > 0 {
					n++
				}
			}
			want := Moved{Left: left, Member: Member{Session: session, User: user}, Clients: len(model), Users: n}
			want.First, want.Last = user != "" && !left && users[user] == 1, user != "" && left && users[user] == 0
			m := sink.moved(t, "p:fold")
			if describe(m) != describe(&want) || told.Epoch == m.Version.Epoch && !m.Version.Follows(told) {
				rt.Fatalf("got %s at %v after %v, want %s", describe(m), m.Version, told, describe(&want))
			}
			told = m.Version
		}
		session := rapid.SampledFrom([]string{"a", "b", "c", "d"})
		rt.Repeat(map[string]func(*rapid.T){
			"enter": func(rt *rapid.T) {
				c := enter("p:fold", session.Draw(rt, "session"), rapid.SampledFrom([]string{"", "u", "v"}).Draw(rt, "user"))
				c.Member.Generation = rapid.Uint32Range(0, 2).Draw(rt, "generation")
				mustChange(t, b, c)
				name, now := c.Member.Session, entry{c.Member.User, c.Member.Generation}
				was, known := model[name]
				if known && was.generation > now.generation {
					return
				}
				if known && was.user != now.user {
					delete(model, name)
					expect(name, was.user, true)
				}
				model[name] = now
				if !known || was.user != now.user {
					expect(name, now.user, false)
				}
			},
			"leave": func(rt *rapid.T) {
				c := leave("p:fold", session.Draw(rt, "session"))
				c.Member.Generation = rapid.Uint32Range(0, 2).Draw(rt, "generation")
				mustChange(t, b, c)
				name := c.Member.Session
				if was, known := model[name]; known && was.generation <= c.Member.Generation {
					delete(model, name)
					expect(name, was.user, true)
				}
			},
			"": func(rt *rapid.T) {
				p := mustRead(t, b, "p:fold", "", 100)
				if want := strings.Join(slices.Sorted(maps.Keys(model)), " "); sessions(p) != want || p.Clients != len(model) {
					rt.Fatalf("read %+v, want %s", p, want)
				}
				if len(model) > 0 && p.Version != told {
					rt.Fatalf("read version %v, told %v", p.Version, told)
				}
			},
		})
		for name := range model {
			c := leave("p:fold", name)
			c.Member.Generation = 9
			mustChange(t, b, c)
			sink.moved(t, "p:fold")
		}
	})
}
