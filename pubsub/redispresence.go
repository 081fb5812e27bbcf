package pubsub

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// versionLife is how long a topic's version is kept after its last member has gone. Then the next one begins a new epoch.
const versionLife = "600000" // milliseconds

// errNoBoot: this node has no lease yet, and so must not have members.
var errNoBoot = errors.New("this node has no lease yet")

// ChangePresence implements Broker. It takes 2 s at most, less if ctx says so.
func (r *Redis) ChangePresence(ctx context.Context, batch []Change) []error {
	ctx, cancel := context.WithTimeout(ctx, ioTimeout)
	defer cancel()
	errs := make([]error, len(batch))
	var todo []int
	for i := range batch {
		if errs[i] = r.cfg.Presence.validate(&r.cfg.Lifecycle, &batch[i]); errs[i] == nil {
			todo = append(todo, i)
		}
	}
	changes := make([]Change, len(todo))
	for k, i := range todo {
		changes[k] = batch[i]
	}
	unlock, err := r.presence.lock(ctx)
	if err == nil {
		defer unlock()
	}
	for k, failed := range r.change(ctx, changes, err) {
		if failed != nil {
			errs[todo[k]] = r.presenceError(changes[k].Topic, failed)
		}
	}
	for i, err := range errs {
		if err != nil {
			errs[i] = fmt.Errorf("change presence: %w", err)
		}
	}
	return errs
}

// change makes changes, unless err is not nil, in the name of this node's boot. The caller holds the lock.
func (r *Redis) change(ctx context.Context, changes []Change, err error) []error {
	errs := make([]error, len(changes))
	boot := r.presence.boot()
	if boot == "" && err == nil {
		err = &unsent{errNoBoot}
	}
	if err != nil {
		for i := range errs {
			errs[i] = err
		}
		return errs
	}
	fenced := false
	for i, reply := range r.changeAs(ctx, boot, changes) {
		errs[i] = reply.err
		fenced = fenced || isFenced(errs[i])
	}
	if fenced {
		r.presence.fenced(boot)
	}
	return errs
}

// changeAs makes changes in the name of boot. Each reply is 1 if somebody came or went, else 0, or an error.
func (r *Redis) changeAs(ctx context.Context, boot string, changes []Change) []reply {
	calls := make([]call, len(changes))
	for i := range changes {
		calls[i] = r.presenceCall(boot, &changes[i])
	}
	replies := make([]reply, len(changes))
	for i, cmd := range r.runBriefly(ctx, calls) {
		n, err := cmd.Int()
		replies[i] = reply{r.lifecycle.count(n), err}
	}
	return replies
}

// reply is what a change came to.
type reply struct {
	n   int
	err error
}

// presenceCall is the script that makes change c in the name of boot.
func (r *Redis) presenceCall(boot string, c *Change) call {
	p, m := partition(c.Topic), &c.Member
	made := call{
		kind: changePresence, partition: p, topic: c.Topic,
		keys: append(r.names.members(c.Topic), r.names.entries(p, boot), r.names.boots(p), r.names.fence(p)),
	}
	channel, user, latest := r.names.topic(c.Topic), m.User, uint64(0)
	if r.cfg.Lifecycle.On {
		made.kind = changeNoted
		made.keys = append(made.keys, r.names.lifecycle(p), r.names.lifecycleEnd(p))
		latest = r.lifecycle.latest.Load()
	}
	if isHidden(c.Topic) {
		channel, user = "", hiddenUser(c.Topic)
	}
	made.args = []any{
		r.cfg.Lifecycle.MaxEntries, latest, freshEpoch(),
		channel, entryOf(c.Topic, m.Session), m.Session, m.Generation, boot, r.cfg.Presence.EventsMax, versionLife,
		!c.Leave, user, []byte(m.Info),
	}
	if r.cfg.Lifecycle.On {
		made.args = append(made.args, c.Topic, cmp.Or(c.Cause, unknownCause), againWords[c.again], r.cfg.Lifecycle.tellsUsers(c.Topic))
	}
	return made
}

// isFenced reports whether err says that the boot was swept.
func isFenced(err error) bool { return err != nil && redis.HasErrorPrefix(err, "FENCED ") }

// entryOf is a member among a boot's entries. No session has a 0, and no topic but at a hidden one's beginning.
func entryOf(topic, session string) string { return topic + "\x00" + session }

// parseEntry reads what entryOf wrote. The member left, and whatever its generation was, must not stay.
func parseEntry(entry string) (c Change, ok bool) {
	hidden := 0
	if isHidden(entry) {
		hidden = len(hiddenMark)
	}
	topic, session, ok := strings.Cut(entry[hidden:], "\x00")
	topic = entry[:hidden] + topic
	c = Change{Topic: topic, Member: Member{Session: session, Generation: math.MaxUint32}, Leave: true}
	return c, ok && (ValidTopic(topic) || validHidden(topic)) && ValidTopic(session)
}

// presenceError counts err, makes it one of the broker's, and has the topic's partition repaired.
func (r *Redis) presenceError(topic string, err error) error {
	r.presence.dueNow(partition(topic))
	kind := ErrUnavailable
	if !isFenced(err) {
		kind = classify(err)
	}
	switch kind {
	case ErrUnavailable:
		r.presence.unavailable.Add(1)
	case ErrRefused:
		r.presence.refused.Add(1)
		r.trouble.Error().Err(err).Msg("redis refuses changes of presence")
	case ErrUnknownOutcome:
		r.presence.unknown.Add(1)
	}
	if redis.IsReadOnlyError(err) {
		r.triggers.pull(onReplica)
	}
	return fmt.Errorf("%w: %s", kind, err)
}

// ReadPresence implements Broker. It takes 2 s at most, less if ctx says so.
func (r *Redis) ReadPresence(ctx context.Context, topic, after string, limit int) (Presence, error) {
	cursor, last, ok := parseAfter(after)
	switch {
	case !ValidTopic(topic) || !r.cfg.Presence.has(topic):
		return Presence{}, fmt.Errorf("read presence: %w: %q", ErrNoPresence, clip(topic))
	case !ok:
		return Presence{}, fmt.Errorf("read presence: %w: %q", ErrBadPage, clip(after))
	}
	ctx, cancel := context.WithTimeout(ctx, ioTimeout)
	defer cancel()
	limit = pageLimit(limit)
	reply := r.run(ctx, []call{{
		kind: readPresence, partition: partition(topic), keys: r.names.members(topic), args: []any{cursor, limit}, reads: true,
	}})[0]
	parts, err := reply.Slice()
	if err == nil && len(parts) != 5 {
		err = errBadLog
	}
	if err != nil {
		kind := ErrUnavailable
		if classify(err) == ErrRefused {
			kind = ErrRefused
		}
		return Presence{}, fmt.Errorf("read presence: %w: %s", kind, err)
	}
	p := Presence{Version: parseVersion(str(parts, 0))}
	clients, _ := parts[1].(int64)
	users, _ := parts[2].(int64)
	p.Clients, p.Users = int(max(clients, 0)), int(max(users, 0))
	chunks, _ := parts[4].([]any)
	if limit > 0 {
		r.readPage(&p, topic, last, limit, str(parts, 3), chunks)
	}
	return p, nil
}

// readPage takes the members of chunks, each of which stands behind the cursor that it was read from, and next behind all. Those
// of the first chunk are on the page from last on. So are those of one that the page has no room for: the next
// page begins with it, from the page's last on. Within a chunk the order is that of the sessions' names.
func (r *Redis) readPage(p *Presence, topic, last string, limit int, next string, chunks []any) {
	for _, chunk := range chunks {
		cursor, pairs := str(chunk, 0), at(chunk, 1)
		list, _ := pairs.([]any)
		var members []Member
		for i := 0; i+1 < len(list); i += 2 {
			m, ok := parseMember(str(list, i), []byte(str(list, i+1)))
			switch {
			case !ok:
				r.drop(BadEntry, r.names.members(topic)[0])
			case m.Session > last:
				members = append(members, m)
			}
		}
		slices.SortFunc(members, func(a, b Member) int { return strings.Compare(a.Session, b.Session) })
		if room := limit - len(p.Members); len(members) > room {
			if p.Members = append(p.Members, members[:room]...); room > 0 {
				last = members[room-1].Session
			}
			p.Next = cursor + ":" + last
			return
		}
		p.Members, last = append(p.Members, members...), ""
	}
	if next != "0" {
		p.Next = next + ":"
	}
}

// parseAfter reads a Presence.Next: the cursor of a chunk, and a session's name if the page before ended with it.
func parseAfter(after string) (cursor, last string, ok bool) {
	if after == "" {
		return "0", "", true
	}
	cursor, last, ok = strings.Cut(after, ":")
	n, err := strconv.ParseUint(cursor, 10, 64)
	return cursor, last, ok && err == nil && (n > 0 || last != "") && (last == "" || ValidTopic(last))
}

// parseVersion reads what presence.lua stores: zero for anything else.
func parseVersion(stored string) Version {
	if len(stored) != 16 {
		return Version{}
	}
	return Version{binary.BigEndian.Uint64([]byte(stored)), binary.BigEndian.Uint64([]byte(stored[8:]))}
}

// RepairPresence implements Broker.
func (r *Redis) RepairPresence(topic string) { r.presence.dueNow(partition(topic)) }
