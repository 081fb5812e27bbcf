package pubsub

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"wshub/pubsub/redistest"
)

// appendMoved is the news of m as presence.lua writes it.
func appendMoved(m *Moved) []byte {
	flags := byte(0)
	switch {
	case m.Counted:
		flags = countedFlag
	case m.Left:
		flags = leftFlag
	}
	if m.First || m.Last {
		flags |= edgeFlag
	}
	b := []byte{presenceMark}
	b = binary.BigEndian.AppendUint64(b, m.Version.Epoch)
	b = append(binary.BigEndian.AppendUint64(b, m.Version.Number), flags)
	b = binary.BigEndian.AppendUint32(b, uint32(m.Clients))
	b = binary.BigEndian.AppendUint32(b, uint32(m.Users))
	if m.Counted {
		return b
	}
	b = binary.BigEndian.AppendUint64(b, uint64(m.Member.Since))
	b = append(append(b, byte(len(m.Member.Session))), m.Member.Session...)
	b = append(append(b, byte(len(m.Member.User))), m.Member.User...)
	return append(b, m.Member.Info...)
}

var someMoved = []Moved{
	{Version: Version{1, 1}, Clients: 1, Member: Member{Session: "s", Since: 5}},
	{Version: Version{1, 2}, Clients: 2, Users: 1, First: true, Member: Member{Session: "s", User: "u", Info: json.RawMessage(`{"a":1}`)}},
	{Version: Version{1, 3}, Left: true, Last: true, Member: Member{Session: strings.Repeat("s", 255), User: strings.Repeat("u", 255)}},
	{Version: Version{1 << 63, 1 << 62}, Clients: 1<<32 - 1, Users: 1<<32 - 1, Counted: true},
}

func FuzzMoved(f *testing.F) {
	f.Add([]byte(nil))
	f.Add([]byte{presenceMark})
	for i := range someMoved {
		f.Add(appendMoved(&someMoved[i]))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		m, ok := parseMoved(payload)
		if !ok {
			return
		}
		if json.Valid(payload) || isEnvelope(payload) || m.Version.Epoch == 0 || m.First && m.Left || m.Last && !m.Left {
			t.Errorf("%+v", m)
		}
		if !m.Counted && (!ValidTopic(m.Member.Session) || m.Member.validate() != nil) {
			t.Errorf("%+v", m)
		}
		if again := appendMoved(&m); !bytes.Equal(again, payload) {
			t.Errorf("%q became %q", payload, again)
		}
	})
}

func FuzzMember(f *testing.F) {
	f.Add("s", []byte("\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x05\x00\x01b\x01u{}"))
	f.Add("", []byte("\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x05\xff\xffb"))
	f.Fuzz(func(t *testing.T, session string, stored []byte) {
		if m, ok := parseMember(session, stored); ok && (!ValidTopic(m.Session) || m.validate() != nil || m.Since < 0) {
			t.Errorf("%+v", m)
		}
	})
}

func TestBadNewsOfPresenceIsDropped(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	r, sink := running(t, RedisConfig{URL: server.URL(), Presence: contractPresence})
	for _, topic := range []string{"p:a", "c:none"} {
		mustFollow(t, r, topic, 0)
	}
	good := string(appendMoved(&someMoved[1]))
	bad := map[string]string{"hub:t:c:none": good}
	for i, payload := range []string{"\x04", good[:30], good + "x", "\x04" + strings.Repeat("\x00", 25), strings.Replace(good, "{", "\xff", 1), "\x04" + strings.Repeat("x", maxPresence)} {
		bad["hub:t:p:a"] = payload
		for channel, payload := range bad {
			r.only().pub.Publish(t.Context(), channel, payload)
		}
		mustPublish(t, r, "p:a", "1")
		sink.event(t, "p:a")
		if n := r.Stats().Drops["bad_envelope"]; n != uint64(2*(i+1)) {
			t.Fatalf("%q: %d drops", payload, n)
		}
	}
	r.only().pub.Publish(t.Context(), "hub:t:p:a", good)
	if m := sink.moved(t, "p:a"); m.Member.Session != "s" || !m.First || m.Users != 1 {
		t.Errorf("got %+v", m)
	}
}

// TestStrangeDataInTheKeysOfPresenceHarmsOnlyItself has what no hub writes in them.
func TestStrangeDataInTheKeysOfPresenceHarmsOnlyItself(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	a := instanceOf(t, RedisConfig{URL: server.URL(), Node: "a"})
	a.watch(t, "p:a")
	a.change(t, enter("p:a", "good", "u"))
	wantMoved(t, a.sink, "p:a", "+good u first 1 1")
	keys := a.names.members("p:a")

	server.CLI("hset", keys[0], "short", "x", "long", strings.Repeat("\xff", 300), "bad\nname", "x")
	if p := mustRead(t, a, "p:a", "", 10); sessions(p) != "good" || p.Clients != 4 {
		t.Errorf("read %+v", p)
	}
	if n := a.Stats().Drops["bad_entry"]; n != 3 {
		t.Errorf("%d entries were dropped", n)
	}
	a.change(t, enter("p:a", "short", "u"), leave("p:a", "long"))
	wantMoved(t, a.sink, "p:a", "+short u 4 1")
	server.CLI("hdel", keys[0], "bad\nname")
	wantPresent(t, a, "p:a", "good short")

	server.CLI("set", keys[2], "no version")
	a.change(t, leave("p:a", "short"))
	wantMoved(t, a.sink, "p:a", "-short u 1 1")
	server.CLI("hset", keys[1], "ghost", "7")
	a.change(t, leave("p:a", "good"))
	wantMoved(t, a.sink, "p:a", "-good u last 0 0")
	if server.CLI("exists", keys[1]) != "0" {
		t.Error("a user is left of nobody")
	}

	for _, key := range keys[:2] {
		server.CLI("set", key, "x")
		if err := a.ChangePresence(t.Context(), []Change{enter("p:a", "s", "u")})[0]; !errors.Is(err, ErrRefused) {
			t.Errorf("enter: %v", err)
		}
		if _, err := a.ReadPresence(t.Context(), "p:a", "", 10); !errors.Is(err, ErrRefused) {
			t.Errorf("read: %v", err)
		}
		server.CLI("del", key)
	}
}

// TestStrangeEntriesDoNotKeepASweep has a boot with entries that no hub writes.
func TestStrangeEntriesDoNotKeepASweep(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	a := instanceOf(t, RedisConfig{URL: server.URL(), Node: "a"})
	a.watch(t, "p:a")
	p := partition("p:a")
	for _, reply := range a.changeAs(t.Context(), "dead", []Change{enter("p:a", "s", "u")}) {
		if err := reply.err; err != nil {
			t.Fatal(err)
		}
	}
	for _, entry := range []string{"no topic", "\x00", "p:a\x00", "p:a\x00never there", neighbourElsewhere("p:a") + "\x00s"} {
		if err := a.command(t.Context(), p, "hset", a.names.entries(p, "dead"), entry, "x").Err(); err != nil {
			t.Fatal(err)
		}
	}
	a.sink.moved(t, "p:a")
	server.CLI("zadd", a.names.leases(), "1", "dead")
	wantMoved(t, a.sink, "p:a", "-s u last 0 0")
	eventually(t, "all is gone", func() bool {
		return server.CLI("exists", a.names.entries(p, "dead")) == "0" && server.CLI("zscore", a.names.leases(), "dead") == ""
	})
}

// neighbourElsewhere is a topic of another partition.
func neighbourElsewhere(topic string) string {
	for i := 0; ; i++ {
		if name := presenceTopics[i]; partition(name) != partition(topic) {
			return name
		}
	}
}
