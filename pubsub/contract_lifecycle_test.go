package pubsub

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// lifecycleContract is what brokers with a lifecycle are asked, besides what presence is asked.
var lifecycleContract = slices.Concat(presenceContract, []claim{
	{"a session that comes and goes is told with its user", sessionTold},
	{"of a user the first and the last session tell that it comes and goes", userTold},
	{"a session of nobody has no user", nobodyTold},
	{"a topic is occupied by the first member and vacated by the last", topicTold},
	{"of the users of a topic, where they are told, the first and the last session tell", topicUsersTold},
	{"a session that is entered again tells nothing", againNothing},
	{"hidden topics are not to be seen, and members of them have their user", hiddenHidden},
	{"names with every character are JSON", oddNames},
	{"entries of a stream are numbered without a hole behind its beginning", numbered},
})

// contractLifecycle is the lifecycle of brokers of the suite.
var contractLifecycle = LifecycleConfig{On: true, Users: func(topic string) bool { return strings.HasPrefix(topic, "p:told") }}

// lifecycleOn has a prefix of its own, so that others of the server write no lifecycle.
func lifecycleOn(t testing.TB, url string) Broker {
	return newRedis(t, RedisConfig{URL: url, Prefix: "life", Node: "here", Presence: contractPresence, Lifecycle: contractLifecycle})
}

func opened(session, user string) Change { return enter(sessionsOf(session, user), session, user) }
func closed(session, user string) Change { return leave(sessionsOf(session, user), session) }

func sessionsOf(session, user string) string {
	if user == "" {
		return NobodySessions(byte(len(session)))
	}
	return UserSessions(user)
}

// streamOf are the entries of the stream of a topic.
func streamOf(t testing.TB, b Broker, topic string) []LifecycleEntry {
	t.Helper()
	if m, ok := b.(*Memory); ok {
		list, err := m.readLifecycle("", 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	r := b.(*Redis)
	p := partition(topic)
	return streamAfter(t, r, p, "-")
}

// streamAfter reads the stream of partition p from an ID on, as XRANGE takes it.
func streamAfter(t testing.TB, r *Redis, p byte, from string) (list []LifecycleEntry) {
	t.Helper()
	n := &r.names
	var reply []any
	eventually(t, "the stream can be read", func() (ok bool) { // a server may be going
		var err error
		reply, err = r.command(t.Context(), n.lifecyclePart(p), "xrange", n.lifecycle(p), from, "+").Slice()
		return err == nil
	})
	for _, entry := range reply {
		fields := at(entry, 1)
		if name := str(fields, 0); name != "event" {
			t.Fatalf("field %q", name)
		}
		list = append(list, LifecycleEntry{str(entry, 0), json.RawMessage(str(fields, 1))})
	}
	return list
}

// parseLifecycle reads an entry, whose members must all be known.
func parseLifecycle(t testing.TB, e LifecycleEntry) (event lifecycleEvent) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(string(e.Event)))
	d.DisallowUnknownFields()
	if err := d.Decode(&event); err != nil || len(e.Event) > MaxLifecycleEvent || event.Time == 0 || event.Seq == 0 {
		t.Fatalf("%s: %v", e.Event, err)
	}
	return event
}

// wantTold wants the stream of topic to have these entries about it or its user, and no more.
func wantTold(t testing.TB, b Broker, topic string, want ...string) {
	t.Helper()
	var got []string
	for _, entry := range streamOf(t, b, topic) {
		e := parseLifecycle(t, entry)
		if about := e.Topic == topic || isHidden(topic) && e.Topic == "" && e.User == hiddenUser(topic); !about || e.Type == "reset" {
			continue
		}
		who := e.Session
		if e.Topic != "" {
			who = e.User
		}
		got = append(got, strings.TrimRight(fmt.Sprintf("%s %s %s %s", e.Type, who, e.Hub, e.Cause), " "))
	}
	if !slices.Equal(got, want) {
		t.Errorf("told of %q:\n%s\nwant\n%s", topic, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func nodeOf(b Broker) string {
	if r, ok := b.(*Redis); ok {
		return r.cfg.Node
	}
	return b.(*Memory).cfg.Node
}

func sessionTold(t *testing.T, b Broker, _ recorder) {
	gone := closed("s_1", "told")
	gone.Cause = "slow_consumer"
	mustChange(t, b, opened("s_1", "told"), gone, opened("s_2", "told"), closed("s_2", "told"), closed("s_2", "told"))
	hub := nodeOf(b)
	wantTold(t, b, UserSessions("told"),
		"session_opened s_1 "+hub, "user_online", "session_closed s_1 "+hub+" slow_consumer", "user_offline",
		"session_opened s_2 "+hub, "user_online", "session_closed s_2 "+hub+" unknown", "user_offline")
}

func userTold(t *testing.T, b Broker, _ recorder) {
	mustChange(t, b, opened("s_1", "two"), opened("s_2", "two"), closed("s_1", "two"), closed("s_2", "two"))
	hub := nodeOf(b)
	wantTold(t, b, UserSessions("two"),
		"session_opened s_1 "+hub, "user_online", "session_opened s_2 "+hub,
		"session_closed s_1 "+hub+" unknown", "session_closed s_2 "+hub+" unknown", "user_offline")
}

func nobodyTold(t *testing.T, b Broker, _ recorder) {
	mustChange(t, b, opened("s_1", ""), closed("s_1", ""))
	hub := nodeOf(b)
	wantTold(t, b, sessionsOf("s_1", ""), "session_opened s_1 "+hub, "session_closed s_1 "+hub+" unknown")
}

func topicTold(t *testing.T, b Broker, _ recorder) {
	mustChange(t, b, enter("p:occupied", "s_1", "u"), enter("p:occupied", "s_2", ""), leave("p:occupied", "s_1"), leave("p:occupied", "s_2"),
		enter("p:occupied", "s_1", "u"), enter("p:occupied", "s_1", "v"))
	wantTold(t, b, "p:occupied", "topic_occupied", "topic_vacated", "topic_occupied")
}

func topicUsersTold(t *testing.T, b Broker, _ recorder) {
	const topic = "p:told"
	mustChange(t, b, enter(topic, "s_1", "u"), enter(topic, "s_2", "u"), enter(topic, "s_3", ""), enter(topic, "s_4", "v"),
		leave(topic, "s_1"), enter(topic, "s_4", "w"), leave(topic, "s_2"), enter(topic, "s_3", "w"), leave(topic, "s_4"), leave(topic, "s_3"))
	wantTold(t, b, topic, "topic_occupied", "user_joined u", "user_joined v", "user_left v", "user_joined w", "user_left u", "user_left w", "topic_vacated")
}

func againNothing(t *testing.T, b Broker, _ recorder) {
	again := opened("s_1", "again")
	again.Member.Generation = 7
	late := closed("s_1", "again")
	mustChange(t, b, opened("s_1", "again"), again, late, opened("s_1", "again"))
	wantTold(t, b, UserSessions("again"), "session_opened s_1 "+nodeOf(b), "user_online")
}

func hiddenHidden(t *testing.T, b Broker, _ recorder) {
	mustChange(t, b, opened("s_1", "hidden"))
	for _, topic := range []string{UserSessions("hidden"), NobodySessions(7)} {
		if _, err := b.ReadPresence(t.Context(), topic, "", 1); !errors.Is(err, ErrNoPresence) {
			t.Errorf("read %q: %v", topic, err)
		}
	}
	for _, c := range []struct {
		change Change
		want   error
	}{
		{enter(UserSessions("hidden"), "s_2", "other"), ErrBadMember},
		{enter(UserSessions("hidden"), "", "hidden"), ErrBadMember},
		{enter(NobodySessions(1), "s_2", "other"), ErrBadMember},
		{enter("\x00", "s_2", ""), ErrNoPresence},
		{enter("\x00F0", "s_2", ""), ErrNoPresence},
		{enter("\x00p:room", "s_2", ""), ErrNoPresence},
		{enter("\x00user:", "s_2", ""), ErrNoPresence},
		{enter("\x00user:\x00", "s_2", "\x00"), ErrNoPresence},
		{Change{Topic: NobodySessions(1), Member: Member{Session: "s"}, Leave: true, Cause: strings.Repeat("x", 256)}, ErrBadMember},
	} {
		if errs := b.ChangePresence(t.Context(), []Change{c.change}); !errors.Is(errs[0], c.want) {
			t.Errorf("%+v: %v, want %v", c.change, errs[0], c.want)
		}
	}
}

func oddNames(t *testing.T, b Broker, _ recorder) {
	long := strings.Repeat(`"`, MaxTopic-len(userPrefix))
	for _, user := range []string{`a"\b/<é>` + "\u2028\ue000𝄞" + "{}%s%d", long} {
		session := strings.Repeat(`\`, MaxMemberName)
		gone := closed(session, user)
		gone.Cause = strings.Repeat(`"`, MaxMemberName)
		mustChange(t, b, opened(session, user), gone)
		hub := nodeOf(b)
		wantTold(t, b, UserSessions(user), "session_opened "+session+" "+hub, "user_online",
			"session_closed "+session+" "+hub+" "+gone.Cause, "user_offline")
	}
	topic := "p:" + long
	mustChange(t, b, enter(topic, "s", ""), leave(topic, "s"))
	wantTold(t, b, topic, "topic_occupied", "topic_vacated")
}

func numbered(t *testing.T, b Broker, _ recorder) {
	for i := range 20 {
		mustChange(t, b, opened(fmt.Sprint("s_", i), "numbered"))
	}
	last := ID{}
	for i, entry := range streamOf(t, b, UserSessions("numbered")) {
		e := parseLifecycle(t, entry)
		if e.Seq != uint64(i+1) || (e.Type == "reset") != (i == 0) {
			t.Errorf("entry %d: %s", i, entry.Event)
		}
		id, err := ParseID(entry.ID)
		if err != nil || id.Compare(last) <= 0 {
			t.Errorf("%v behind %v: %v", id, last, err)
		}
		last = id
	}
	if last.IsZero() {
		t.Error("nothing was told")
	}
}
