package pubsub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"
	"unicode/utf8"
)

// Member is a session that is present in a topic.
type Member struct {
	// Session names the session: 1 to MaxMemberName bytes. A topic has each session once.
	Session string
	// User is whose session it is, "" for nobody's, MaxMemberName bytes at most.
	User string
	// Info is JSON for others to see, MaxMemberInfo bytes at most, nil without one. It is shared: nobody changes it.
	Info json.RawMessage
	// Since is when the session became a member, in Unix milliseconds of Redis' clock. ChangePresence sets it.
	Since int64
	// Generation orders the connections of a session that was resumed, and counts on from 1 behind 2^32-1; 0 for one that never was.
	// Of two hubs that have the session, the one with the later generation, by less than 2^31, is right.
	Generation uint32
}

// laterGeneration reports whether a is later than b, as presence.lua does.
func laterGeneration(a, b uint32) bool {
	return a != b && b != math.MaxUint32 && (b == 0 || a != 0 && int32(a-b) > 0)
}

// Bounds of a Member, in bytes.
const (
	MaxMemberName = 255
	MaxMemberInfo = 4 << 10
)

// Change is a member that comes or goes.
type Change struct {
	Topic string
	// Member, where it goes, needs no more than Session and Generation.
	Member Member
	Leave  bool
	// Cause, of one who leaves a hidden topic, is why its session has ended, for the lifecycle: see UserSessions. Default "unknown".
	Cause string
	again again
}

// again says that a member enters because the broker misses it, and may have lost it. See mayHaveLost.
type again uint8

const (
	// untold has the lifecycle tell that a session is there, though the broker may know: its stream may have lost that.
	untold again = iota + 1
	// untoldTopic has it tell, too, that its user or its topic is.
	untoldTopic
)

// Version numbers the states of a topic's presence: each change has the Number behind that of the one before. Another
// Epoch is another count: nothing is known of what happened between.
type Version struct{ Epoch, Number uint64 }

// IsZero reports whether v is no version: the presence of a topic that nobody was in lately.
func (v Version) IsZero() bool { return v == Version{} }

// Follows reports whether v is the version behind before, with none between.
func (v Version) Follows(before Version) bool {
	return v.Epoch == before.Epoch && v.Number == before.Number+1
}

// Presence is who is in a topic, or a page of it.
type Presence struct {
	// Version is that of the moment when the page was read. Pages with different ones have seen the topic change
	// between them: who was there all the time is on one of them, or on two, which a caller tells by their Session; of who
	// came or went meanwhile nothing is known.
	Version Version
	// Clients is the number of members, Users that of different users, to which those without a user don't count.
	Clients, Users int
	// Members is the page, in no order.
	Members []Member
	// Next is the after of the next page, "" behind the last one. A page may be empty and have a Next.
	Next string
}

// Moved is a change of a topic's presence that has happened.
type Moved struct {
	Topic string
	// Version is that of the presence since the change. Zero says that changes may have been lost, and nothing else: read
	// the presence again.
	Version Version
	Left    bool
	Member  Member
	// First says that Member is its user's first session in the topic, Last that it was the last one. False without a user.
	First, Last bool
	// Clients and Users count who is there since the change. See Presence.
	Clients, Users int
	// Counted says that the topic has so many members that changes tell counts only: Left, Member, First and Last are zero.
	Counted bool
}

// PresenceConfig says which topics have a presence. All instances must have the same.
type PresenceConfig struct {
	// Match reports whether topic has one. It must not block. Default: none has. The other fields hold for the sessions of a
	// lifecycle, too.
	Match func(topic string) bool
	// EventsMax is the number of members above which changes are told by counts only: see Moved.Counted.
	// Default DefaultPresenceEventsMax.
	EventsMax int
	// Grace is how long the members of an instance that has ended stay, so that they can be entered by another one before
	// anybody is told that they left. Default DefaultPresenceGrace, MaxPresenceGrace at most.
	Grace time.Duration
	// Members calls yield for each member that this instance has of the topics of a partition (see Partition), as they are at a moment
	// after it was called, so that the server can be repaired. It may take long; an error, or an end of ctx, ends it.
	// ChangePresence waits meanwhile. Memory does not call it. Default: nothing is repaired.
	Members func(ctx context.Context, partition byte, yield func(topic string, m Member)) error
}

const (
	// DefaultPresenceEventsMax keeps a join of a crowd from being told to all of it.
	DefaultPresenceEventsMax = 1000
	// DefaultPresenceGrace lets a client reconnect.
	DefaultPresenceGrace = 5 * time.Second
	// MaxPresenceGrace bounds PresenceConfig.Grace.
	MaxPresenceGrace = 5 * time.Minute
	// MaxPresencePage bounds a page of ReadPresence.
	MaxPresencePage = 1000
)

var (
	// ErrNoPresence: the topic has no presence.
	ErrNoPresence = errors.New("topic has no presence")
	// ErrBadMember: a Member is not fit to be one; the error's text says why.
	ErrBadMember = errors.New("bad member")
	// ErrBadPage: the after of a page is none that this topic's presence gave.
	ErrBadPage = errors.New("bad page")
)

func (c *PresenceConfig) setDefaults() {
	setDefault(&c.EventsMax, DefaultPresenceEventsMax)
	setDefault(&c.Grace, DefaultPresenceGrace)
	c.Grace = min(c.Grace, MaxPresenceGrace)
}

// has reports whether topic has a presence that anybody can see.
func (c *PresenceConfig) has(topic string) bool {
	return c.Match != nil && !isHidden(topic) && c.Match(topic)
}

// on reports whether any topic has one.
func (c *PresenceConfig) on() bool { return c.Match != nil }

// validate is nil, or why change can't be made.
func (c *PresenceConfig) validate(l *LifecycleConfig, change *Change) error {
	switch m := &change.Member; {
	case isHidden(change.Topic):
		if !l.On || !validHidden(change.Topic) {
			return fmt.Errorf("%w: %q", ErrNoPresence, clip(change.Topic))
		}
		if m.User != hiddenUser(change.Topic) && !change.Leave || len(change.Cause) > MaxMemberName {
			return fmt.Errorf("%w: user %q, cause %q", ErrBadMember, clip(m.User), clip(change.Cause))
		}
	case !ValidTopic(change.Topic) || !c.has(change.Topic):
		return fmt.Errorf("%w: %q", ErrNoPresence, clip(change.Topic))
	}
	switch m := &change.Member; {
	case !ValidTopic(m.Session): // MaxMemberName is MaxTopic
		return fmt.Errorf("%w: session %q", ErrBadMember, clip(m.Session))
	case change.Leave:
		return nil
	default:
		return m.validate()
	}
}

// validate is nil, or an ErrBadMember that says why m, whose Session is good, can't be a member.
func (m *Member) validate() error {
	switch {
	case m.User != "" && !ValidTopic(m.User):
		return fmt.Errorf("%w: user %q", ErrBadMember, clip(m.User))
	case len(m.Info) > MaxMemberInfo:
		return fmt.Errorf("%w: info of %d bytes, at most %d are allowed", ErrBadMember, len(m.Info), MaxMemberInfo)
	case len(m.Info) > 0 && (!utf8.Valid(m.Info) || !json.Valid(m.Info)):
		return fmt.Errorf("%w: info is not JSON", ErrBadMember)
	}
	return nil
}

// tell is m as followers are told of it.
func (c *PresenceConfig) tell(m Moved) Moved {
	if m.Clients > c.EventsMax {
		return Moved{Topic: m.Topic, Version: m.Version, Clients: m.Clients, Users: m.Users, Counted: true}
	}
	return m
}

// pageLimit is limit within its bounds.
func pageLimit(limit int) int { return min(max(limit, 0), MaxPresencePage) }
