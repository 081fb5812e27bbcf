// Package reasons keeps why clients were refused, cut, or lost something: for the log, and for a page that shows the last
// of them.
//
//	engine: a refused handshake ─┐
//	session: token, topic, cut ──┼─▶ Log.Wants ─▶ Log.Add ─▶ the log, at debug
//	a drop ──────────────────────┘  few of a rule    └─────▶ a ring of 200 ─▶ Log.List
//
// All may be called from any goroutine, loops among them: nothing waits but for a short lock. A Reason holds no token, no
// key and no event's data.
package reasons

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// Kind says what happened to the client.
type Kind string

const (
	Handshake Kind = "handshake" // was refused; Rule is the HTTP status' name, or "origin"
	Token     Kind = "token"     // of a handshake, an auth or a resume was not accepted; Rule is that of token.Finding
	Topic     Kind = "topic"     // may not be followed, read or published to; Rule is the error's code
	Cut       Kind = "cut"       // the hub ended the connection; Rule is the cause's name
	Drop      Kind = "drop"      // something was not let in, kept or done; Rule is the counter's name
)

// Reason is why something was refused, cut or dropped. Unknown fields are "".
type Reason struct {
	Time    time.Time `json:"time"`
	Kind    Kind      `json:"kind"`
	Rule    string    `json:"rule"`
	Session string    `json:"session,omitempty"`
	User    string    `json:"user,omitempty"`
	Addr    string    `json:"addr,omitempty"` // the client's, as --client-address says
	Topic   string    `json:"topic,omitempty"`
	Text    string    `json:"text"`
	Remedy  string    `json:"remedy,omitempty"` // what can be done about it; Add sets it
	// Others is how many of the same kind and rule were left out before this one, because they came too fast.
	Others uint64 `json:"others,omitempty"`
}

const (
	// Kept is how many reasons a Log keeps.
	Kept = 200
	// Of one kind and rule, burst are kept in each period, so that a flood of one pushes out no other.
	burst  = 10
	period = 10 * time.Second
	// At info a rule that refuses clients is logged once in each sayEvery: whoever has locked all clients out sees it without debug.
	sayEvery = time.Hour
	// maxBudgets bounds the rules that are told apart; there are some 60.
	maxBudgets = 256
	// maxName bounds a user, topic or text in bytes: what clients sent may be longer.
	maxName = 512
)

// Log keeps the last reasons.
type Log struct {
	log zerolog.Logger
	now func() time.Time

	mu      sync.Mutex
	ring    []Reason // up to Kept, the oldest at next once it is full
	next    int
	budgets map[budgetKey]*budget
}

type budgetKey struct {
	kind Kind
	rule string
}

// budget is what of one kind and rule may be kept now.
type budget struct {
	ends   time.Time // of the period
	left   int
	others uint64
	said   time.Time // at info
}

// New makes a Log that writes each reason that it keeps to log, at debug; of those that refuse a handshake or token the first of a
// rule in each hour at info, without the client's names.
func New(log zerolog.Logger) *Log { return &Log{log: log, now: time.Now} }

// Wants reports whether a reason of this kind and rule is to be added now; others is for Reason.Others. Ask before the
// reason is put into words: under a flood most are not wanted.
func (l *Log) Wants(kind Kind, rule string) (others uint64, ok bool) {
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.budget(budgetKey{kind, rule})
	if !now.Before(b.ends) {
		b.ends, b.left = now.Add(period), burst
	}
	if b.left == 0 {
		b.others++
		return 0, false
	}
	b.left--
	others, b.others = b.others, 0
	return others, true
}

func (l *Log) budget(key budgetKey) *budget {
	b := l.budgets[key]
	if b == nil && len(l.budgets) >= maxBudgets {
		key.rule = "" // all others share one
		b = l.budgets[key]
	}
	if b == nil {
		if l.budgets == nil {
			l.budgets = make(map[budgetKey]*budget)
		}
		b = &budget{}
		l.budgets[key] = b
	}
	return b
}

// Add keeps r, for which Wants was true, and logs it. It sets r's time.
func (l *Log) Add(r Reason) {
	r.Time, r.Remedy = l.now(), remedyOf(r.Kind, r.Rule)
	r.User, r.Topic, r.Text = short(r.User), short(r.Topic), short(r.Text)
	l.mu.Lock()
	if len(l.ring) < Kept {
		l.ring = append(l.ring, r)
	} else {
		l.ring[l.next] = r
		l.next = (l.next + 1) % Kept
	}
	first := l.isFirst(&r)
	l.mu.Unlock()
	if first && l.log.GetLevel() > zerolog.DebugLevel {
		l.write(l.log.Info(), &Reason{Kind: r.Kind, Rule: r.Rule, Text: r.Text, Remedy: r.Remedy}, messages[r.Kind]+"; see --log-level=debug for each client")
		return
	}
	l.write(l.log.Debug(), &r, messages[r.Kind])
}

// isFirst reports whether r is to be logged at info.
func (l *Log) isFirst(r *Reason) bool {
	if r.Kind != Handshake && r.Kind != Token {
		return false
	}
	b := l.budget(budgetKey{r.Kind, r.Rule})
	if !b.said.IsZero() && r.Time.Sub(b.said) < sayEvery {
		return false
	}
	b.said = r.Time
	return true
}

// write logs r by e, which is nil where its level is not logged.
func (l *Log) write(e *zerolog.Event, r *Reason, message string) {
	if e == nil {
		return
	}
	e = e.Str("kind", string(r.Kind)).Str("rule", r.Rule)
	for _, field := range [...]struct{ name, value string }{{"session", r.Session}, {"user", r.User}, {"addr", r.Addr}, {"topic", r.Topic}} {
		if field.value != "" {
			e = e.Str(field.name, field.value)
		}
	}
	if r.Others > 0 {
		e = e.Uint64("others", r.Others)
	}
	e = e.Str("reason", r.Text)
	if r.Remedy != "" {
		e = e.Str("remedy", r.Remedy)
	}
	e.Msg(message)
}

var messages = map[Kind]string{
	Handshake: "a handshake is refused", Token: "a token is refused", Topic: "a topic is refused", Cut: "a connection is cut", Drop: "something is dropped",
}

// short is a copy of text, which may be a part of something larger, cut at maxName bytes.
func short(text string) string {
	if len(text) > maxName {
		return strings.ToValidUTF8(text[:maxName], "") + "…"
	}
	return strings.Clone(text)
}

// List returns the kept reasons, the newest first.
func (l *Log) List() []Reason {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := slices.Concat(l.ring[l.next:], l.ring[:l.next])
	slices.Reverse(list)
	return list
}
