package reasons

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

func (l *Log) note(kind Kind, rule, text string) bool {
	others, ok := l.Wants(kind, rule)
	if ok {
		l.Add(Reason{Kind: kind, Rule: rule, Text: text, Others: others})
	}
	return ok
}

func TestTheLast200AreKeptNewestFirst(t *testing.T) {
	l := New(zerolog.Nop())
	for i := range 3 * Kept / 2 {
		l.Add(Reason{Text: fmt.Sprint(i)})
		if list := l.List(); len(list) != min(i+1, Kept) || list[0].Text != fmt.Sprint(i) || list[len(list)-1].Text != fmt.Sprint(max(0, i+1-Kept)) {
			t.Fatalf("after %d there are %d, from %s to %s", i+1, len(list), list[0].Text, list[len(list)-1].Text)
		}
	}
}

func TestAFloodOfOneRulePushesOutNoOther(t *testing.T) {
	now := time.Unix(1, 0)
	l := New(zerolog.Nop())
	l.now = func() time.Time { return now }
	l.note(Token, "aud", "the one that matters")
	for i := range 10_000 {
		if l.note(Drop, "rate_limit", "again") != (i < burst) {
			t.Fatalf("number %d", i)
		}
	}
	if list := l.List(); len(list) != burst+1 || list[burst].Text != "the one that matters" {
		t.Errorf("kept %+v", list)
	}
	now = now.Add(period)
	l.note(Drop, "rate_limit", "again")
	if got := l.List()[0]; got.Others != 10_000-burst || !got.Time.Equal(now) {
		t.Errorf("the next one says %+v", got)
	}
	for i := range 10 * maxBudgets {
		l.note(Drop, fmt.Sprint(i), "made up")
	}
	if len(l.budgets) > maxBudgets+len(messages) {
		t.Errorf("%d budgets", len(l.budgets))
	}
}

func TestALineAtDebugHasWhatIsKnown(t *testing.T) {
	var out bytes.Buffer
	for level, lines := range map[zerolog.Level]int{zerolog.DebugLevel: 1, zerolog.InfoLevel: 0} {
		out.Reset()
		New(zerolog.New(&out).Level(level)).Add(Reason{Kind: Topic, Rule: "too_many_topics", Session: "s_1", User: "42", Addr: "127.0.0.1:5", Topic: "a\nb", Text: "no pattern", Others: 3})
		if n := strings.Count(out.String(), "\n"); n != lines {
			t.Errorf("%s: %d lines: %s", level, n, &out)
		}
		if want := `{"level":"debug","kind":"topic","rule":"too_many_topics","session":"s_1","user":"42","addr":"127.0.0.1:5","topic":"a\nb","others":3,"reason":"no pattern","remedy":"--max-topics bounds what one session follows","message":"a topic is refused"}`; lines == 1 && strings.TrimSpace(out.String()) != want {
			t.Errorf("%s", &out)
		}
	}
}

func TestTheFirstRefusalOfARuleIsSaidAtInfo(t *testing.T) {
	var out bytes.Buffer
	now := time.Unix(1, 0)
	l := New(zerolog.New(&out).Level(zerolog.InfoLevel))
	l.now = func() time.Time { return now }
	add := func(kind Kind, rule string) {
		l.Add(Reason{Kind: kind, Rule: rule, Session: "s_1", User: "42", Addr: "127.0.0.1:5", Text: "no token"})
	}
	for range 3 {
		add(Token, "missing")
		add(Handshake, "origin")
		add(Cut, "slow_consumer")
		add(Drop, "rate_limit")
	}
	first := out.String()
	if n := strings.Count(first, "\n"); n != 2 || strings.Contains(first, "42") || strings.Contains(first, "127.0.0.1") {
		t.Errorf("%d lines: %s", n, first)
	}
	if want := `"level":"info","kind":"token","rule":"missing","reason":"no token"`; !strings.Contains(first, want) || !strings.Contains(first, "--log-level=debug") {
		t.Errorf("%s", first)
	}
	now = now.Add(sayEvery)
	add(Token, "missing")
	if n := strings.Count(out.String(), "\n"); n != 3 {
		t.Errorf("%d lines after an hour", n)
	}
}

func TestWhatClientsSentIsCutShort(t *testing.T) {
	l := New(zerolog.Nop())
	l.Add(Reason{Topic: strings.Repeat("ä", 1<<20), Text: strings.Repeat("x", 1<<20)})
	if r := l.List()[0]; len(r.Topic) > maxName+4 || len(r.Text) > maxName+4 || strings.ContainsRune(r.Topic, '\ufffd') {
		t.Errorf("kept %d and %d bytes", len(r.Topic), len(r.Text))
	}
}

func TestAllLoopsMayAddAtOnce(t *testing.T) {
	l := New(zerolog.Nop())
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for range 1000 {
				l.note(Drop, fmt.Sprint(i), "x")
				l.List()
			}
		})
	}
	all.Wait()
	if n := len(l.List()); n != 8*burst {
		t.Errorf("%d are kept", n)
	}
}

func TestAReasonThatIsNotWantedCostsNoMemory(t *testing.T) {
	l := New(zerolog.Nop())
	for range burst {
		l.note(Drop, "rate_limit", "again")
	}
	if n := testing.AllocsPerRun(100, func() { l.note(Drop, "rate_limit", "again") }); n != 0 {
		t.Errorf("it allocates %v times", n)
	}
}
