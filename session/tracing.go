package session

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
)

// This file is who is traced besides Config.TraceUsers: for a while, because an operator asked for it. Of some the lines are
// logged, of some they are kept for a tail, which comes again for them, of some both.

const (
	// maxTraced bounds the users that are traced at one time, besides those of Config.TraceUsers.
	maxTraced = 16
	// MaxTrace is the longest time that Trace takes.
	MaxTrace = time.Hour
	// tailTime is how long lines are kept for a tail that does not come again.
	tailTime = 15 * time.Second
	// keptLines bounds the lines that wait for a tail, some 100 KiB.
	keptLines = 512
	// tracedPerTurn is how many sessions are told in one turn that they are traced.
	tracedPerTurn = 1024
)

// ErrTooMany: as many users are traced as may be.
var ErrTooMany = errors.New("too many users are traced")

// ErrBadTrace: a user, or a time, can't be.
var ErrBadTrace = errors.New("bad trace")

// tracing are the users that are traced for a while.
type tracing struct {
	users atomic.Pointer[map[string]*traced] // never changed once it is here; nil for none

	mu     sync.Mutex // held by who replaces users
	sweeps bool       // a sweep is on its way
}

// traced is one of them.
type traced struct {
	mu    sync.Mutex
	until time.Time // its lines are logged
	kept  time.Time // its lines are kept until then
	lines traceLines
}

// TraceLine is one line of a trace.
type TraceLine struct {
	Time    time.Time                  `json:"time"`
	What    string                     `json:"what"`
	Session string                     `json:"session,omitempty"`
	Fields  map[string]json.RawMessage `json:"fields,omitempty"`
}

// traceLines are the last lines of a user.
type traceLines struct {
	first uint64 // the number of list[0]
	list  []keptLine
}

type keptLine struct {
	at   time.Time
	text []byte
}

// Trace has all that happens to user's sessions on this node logged for a while, up to MaxTrace, as if it were one of
// Config.TraceUsers. 0 ends it. ErrBadTrace, or ErrTooMany.
func (h *Hub) Trace(user string, d time.Duration) error {
	if err := validateUser(user); err != nil || d < 0 || d > MaxTrace {
		return ErrBadTrace
	}
	until := h.now().Add(d)
	if d == 0 {
		until = time.Time{}
	}
	return h.tracing.change(h, user, d > 0, func(t *traced) { t.until = until })
}

// TraceLines returns the lines about user's sessions on this node from a number on, and the number behind the last. missed
// counts lines that are gone already. The first call, with 0, begins to keep them: for 15 s, and as long after each further one.
// ErrBadTrace, or ErrTooMany.
func (h *Hub) TraceLines(user string, from uint64) (lines []TraceLine, next, missed uint64, err error) {
	if err := validateUser(user); err != nil {
		return nil, 0, 0, ErrBadTrace
	}
	until := h.now().Add(tailTime)
	err = h.tracing.change(h, user, true, func(t *traced) { t.kept = until })
	if err != nil {
		return nil, 0, 0, err
	}
	var kept []keptLine
	if t := h.tracing.of(user); t != nil {
		kept, next, missed = t.after(from)
	}
	for _, line := range kept {
		lines = append(lines, line.parse())
	}
	return lines, next, missed, nil
}

// after returns the lines from a number on.
func (t *traced) after(from uint64) (lines []keptLine, next, missed uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := &t.lines
	next = l.first + uint64(len(l.list))
	switch {
	case from == 0 || from > next: // it begins, or was told by a hub that is no more
		return nil, next, 0
	case from < l.first:
		return slices.Clone(l.list), next, l.first - from
	}
	return slices.Clone(l.list[from-l.first:]), next, 0
}

// change changes what is known of user, made if need be, and tells the loops who is traced.
func (tr *tracing) change(h *Hub, user string, begins bool, change func(*traced)) error {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	users := tr.all()
	t := users[user]
	switch {
	case t != nil:
	case !begins:
		return nil
	case len(users) >= maxTraced:
		return ErrTooMany
	default:
		t = &traced{lines: traceLines{first: uint64(h.now().UnixMilli())}} // more than any that came before, here or in another process
		users = maps.Clone(users)
		if users == nil {
			users = make(map[string]*traced)
		}
		users[user] = t
		tr.users.Store(&users)
		h.tellTraced(user)
	}
	t.mu.Lock()
	change(t)
	t.mu.Unlock()
	if !tr.sweeps {
		tr.sweeps = true
		h.shards[0].loop.Post(h.sweepTraced)
	}
	return nil
}

func (tr *tracing) all() map[string]*traced {
	if users := tr.users.Load(); users != nil {
		return *users
	}
	return nil
}

// of is what is known of user, nil mostly.
func (tr *tracing) of(user string) *traced {
	if users := tr.users.Load(); users != nil {
		return (*users)[user]
	}
	return nil
}

// sweepTraced forgets those whose time is over, each second while there are any. On the first loop.
func (h *Hub) sweepTraced() {
	tr := &h.tracing
	tr.mu.Lock()
	defer tr.mu.Unlock()
	now, left := h.now(), make(map[string]*traced)
	for user, t := range tr.all() {
		if t.holds(now) {
			left[user] = t
		} else {
			defer h.tellTraced(user)
		}
	}
	if len(left) == 0 {
		tr.users.Store(nil)
		tr.sweeps = false
		return
	}
	tr.users.Store(&left)
	h.shards[0].loop.After(time.Second, h.sweepTraced)
}

// holds tells whether there is a reason to trace it.
func (t *traced) holds(now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.After(t.kept) {
		t.lines.first += uint64(len(t.lines.list))
		t.lines.list = nil
	}
	return now.Before(t.until) || now.Before(t.kept)
}

// tellTraced has the sessions of user know whether they are traced.
func (h *Hub) tellTraced(user string) {
	for _, sh := range h.shards {
		sh.loop.Post(func() { sh.tellTraced(sh.members.of(userPrefix + user)) })
	}
}

func (sh *shard) tellTraced(list []*Session) {
	n := min(len(list), tracedPerTurn)
	for _, s := range list[:n] {
		s.traced = sh.hub.traces(s.user())
	}
	if n < len(list) {
		sh.loop.Post(func() { sh.tellTraced(list[n:]) })
	}
}

// traces tells whether all that happens to user is to be logged, or kept for a tail.
func (h *Hub) traces(user string) bool {
	return user != "" && (slices.Contains(h.cfg.TraceUsers, user) || h.tracing.of(user) != nil)
}

// traceLine writes a line about user, who is traced, to where it is wanted. fields are those behind the user.
func (h *Hub) traceLine(user, what string, fields func(*zerolog.Event)) {
	t := h.tracing.of(user)
	logs, keeps := slices.Contains(h.cfg.TraceUsers, user), false
	if t != nil {
		now := h.now()
		t.mu.Lock()
		logs, keeps = logs || now.Before(t.until), now.Before(t.kept)
		t.mu.Unlock()
	}
	if logs {
		writeTrace(h.traceLog.Info(), user, what, fields)
	}
	if keeps {
		kept := zerolog.New(t)
		writeTrace(kept.Log(), user, what, fields)
	}
}

func writeTrace(e *zerolog.Event, user, what string, fields func(*zerolog.Event)) {
	if e == nil {
		return
	}
	e.Str("user", user)
	fields(e)
	e.Msg("trace: " + what)
}

// Write keeps a line: t is the writer of a zerolog.Logger.
func (t *traced) Write(line []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := &t.lines
	if len(l.list) == keptLines {
		l.list = slices.Delete(l.list, 0, keptLines/4) // seldom, and not one by one
		l.first += keptLines / 4
	}
	l.list = append(l.list, keptLine{time.Now(), slices.Clone(line)})
	return len(line), nil
}

// parse reads a line as it was kept.
func (k keptLine) parse() TraceLine {
	line := TraceLine{Time: k.at.UTC()}
	if json.Unmarshal(k.text, &line.Fields) != nil {
		return line
	}
	_ = json.Unmarshal(line.Fields["session"], &line.Session)
	_ = json.Unmarshal(line.Fields["message"], &line.What)
	line.What = line.What[min(len("trace: "), len(line.What)):]
	for _, name := range []string{"user", "session", "message"} {
		delete(line.Fields, name)
	}
	return line
}
