package pusher

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"wshub/engine"
	"wshub/pubsub"
	"wshub/session"
)

// attempt is a session on its way to subscribe to a channel, from the request to the answer.
type attempt struct {
	protocol Protocol
	s        *session.Session
	channel  string
	topic    string
	as       *session.Persona // of a channel that needs a signature, else nil
	watch    bool             // changes of who is there are told, as of a presence channel
	tries    int              // that the broker could not do
	reads    int              // of a cache channel that were overtaken
	timer    *engine.Timer
	cached   *pubsub.Event // the last event of a cache channel, nil for none
	outrun   bool          // events come so fast that it is none any more when it was read
	again    bool          // it was declined for that, and is tried again
	done     bool
	answer   func(o session.Outcome) // of what the client did not ask to subscribe to, else nil
}

const (
	// retryFirst and retryLast are the waits before the first and the later tries of what the broker could not do: the clients
	// ask once.
	retryFirst, retryLast = time.Second, 10 * time.Second
	// cacheTries bounds the readings of a cache channel that is written to meanwhile.
	cacheTries = 3
)

// subscribe does what pusher:subscribe asks for.
func (p Protocol) subscribe(s *session.Session, data json.RawMessage) {
	channel, as, f := p.permit(s, data)
	if f.kind != "" {
		s.CountError(session.Forbidden)
		s.Write(faultFrame(channel, f))
		return
	}
	a := &attempt{protocol: p, s: s, channel: channel, topic: p.app.Topic(channel), as: as, watch: IsPresence(channel)}
	attempts := stateOf(s).attempts
	_, waits := attempts[channel]
	switch _, own := UserOf(channel); {
	case own && s.Follows(a.topic): // since the client has signed in
		a.succeed(session.Outcome{})
		trim(s)
	case waits || s.Follows(a.topic):
		tell(s, session.AlreadyFollows, errorFrame(noCode, "the connection is subscribed to "+clip(channel)+" already"))
		trim(s)
	case len(attempts) >= s.MaxTopics(): // those that wait for the broker are no topics of the session's yet
		a.refuse(fault{limitReached, quotaStatus, "the connection is about to subscribe to as many channels as it may"}, session.TooManyTopics)
	default:
		a.begin()
	}
}

// permit reads which channel a client wants to subscribe to, and whether it may. as is how others see it there, nil for a
// channel that needs no signature.
func (p Protocol) permit(s *session.Session, data json.RawMessage) (channel string, as *session.Persona, f fault) {
	members, err := object(data)
	if err != nil {
		return "", nil, fault{badRequest, http.StatusBadRequest, err.Error()}
	}
	channel, err1 := text(members["channel"])
	auth, err2 := text(members["auth"])
	described, err3 := text(members["channel_data"])
	if err := errors.Join(err1, err2, err3); err != nil || !ValidChannel(channel) {
		return clipChannel(channel), nil, fault{badRequest, http.StatusBadRequest, "want a channel of at most 164 characters of A-Z, a-z, 0-9 and _-=@,.; with auth and channel_data as texts"}
	}
	if user, ok := UserOf(channel); ok {
		if user != userOf(s) {
			return channel, nil, fault{authError, http.StatusUnauthorized, "the connection is not signed in as this user"}
		}
		return channel, &session.Persona{User: user}, fault{}
	}
	if !isGuarded(channel) {
		return channel, nil, fault{}
	}
	signed := SocketOf(s.Name()) + ":" + channel
	if described != "" {
		signed += ":" + described
	}
	if !p.signs.Load().signed(auth, signed) {
		return channel, nil, fault{authError, http.StatusUnauthorized, "the auth is not a signature of " + clip(signed) + " by this application's secret"}
	}
	if as = (&session.Persona{}); IsPresence(channel) {
		as, f = personaOf(s, described)
	}
	return channel, as, f
}

// clipChannel is a name that can be repeated to the client: short, and UTF-8 where it was cut, too.
func clipChannel(channel string) string {
	return strings.ToValidUTF8(channel[:min(len(channel), maxChannel)], "")
}

// personaOf is how others see a member of a presence channel: as channel_data says, or without any as the user that has
// signed in.
func personaOf(s *session.Session, described string) (*session.Persona, fault) {
	var as *session.Persona
	if st, ok := s.State().(*state); described == "" && ok && st.user != "" {
		as = st.persona()
	} else {
		members, err := object(json.RawMessage(described))
		if err != nil {
			return nil, fault{authError, http.StatusUnauthorized, "a presence channel needs channel_data, or a signed-in user"}
		}
		as = &session.Persona{User: identity(members["user_id"]), Info: members["user_info"]}
	}
	switch {
	case !ValidUser(as.User):
		return nil, fault{badRequest, http.StatusBadRequest, "channel_data: want a user_id of 1 to 128 bytes"}
	case len(as.Info) > pubsub.MaxMemberInfo:
		return nil, fault{badRequest, http.StatusBadRequest, "channel_data, user_data: a user_info may have 4 KB"}
	}
	return as, fault{}
}

// identity reads a user's name, a JSON string or number; "" for anything else.
func identity(value json.RawMessage) string {
	if s, err := text(value); err == nil {
		return s
	}
	var n json.Number
	if json.Unmarshal(value, &n) != nil {
		return ""
	}
	return n.String()
}

// begin tries for the first time.
func (a *attempt) begin() {
	st := stateOf(a.s)
	if st.attempts == nil {
		st.attempts = make(map[string]*attempt)
	}
	st.attempts[a.channel] = a
	a.try()
}

// try subscribes, behind what is cached.
func (a *attempt) try() {
	a.timer = nil
	if a.as != nil {
		if r := a.s.Enroll(a.topic, a.as); !r.None() {
			a.report(session.Outcome{Refusal: r})
			return
		}
	}
	if IsCache(a.channel) {
		a.readCached()
		return
	}
	a.follow(nil)
}

// follow subscribes, behind position since or with nil from now on.
func (a *attempt) follow(since *pubsub.Position) {
	if a.watch {
		a.s.SubscribeWatchingUnless(a.topic, since, a.declines, a.report)
	} else {
		a.s.Subscribe(a.topic, since, a.report)
	}
}

// outdated reports whether two events came since the cached one was read, so that the last one is another, and it is worth to try again.
func (a *attempt) outdated(o session.Outcome) bool {
	return o.None() && o.Asked && !o.Recovered && a.reads < cacheTries
}

// declines declines a subscription that is outdated before others see the session in the channel, and leave it for the next try.
func (a *attempt) declines(o session.Outcome) bool {
	a.again = !a.done && a.outdated(o)
	return a.again
}

// readCached reads the last event, and subscribes behind it.
func (a *attempt) readCached() {
	a.s.History(a.topic, pubsub.Position{}, 1, true, func(last pubsub.Replay, why session.Refusal) {
		switch {
		case a.done:
		case !why.None():
			a.report(session.Outcome{Refusal: why})
		default:
			a.cached = nil
			if len(last.Events) > 0 {
				a.cached = last.Events[0]
			}
			a.follow(&last.Head)
		}
	})
}

// report takes the outcome. What the broker can't do now is tried again: nothing asks a second time.
func (a *attempt) report(o session.Outcome) {
	switch {
	case a.done:
	case a.again:
		a.again = false
		a.reads++
		a.try()
	case o.Code == session.NotSubscribed:
		a.end()
	case o.Code.Retry():
		wait := min(retryFirst<<min(a.tries, 5), retryLast)
		a.tries++
		a.timer = a.s.After(wait/2+rand.N(wait/2), a.try)
	case a.outdated(o):
		a.reads++
		a.s.Unsubscribe(a.topic)
		a.try()
	case !o.None():
		a.end()
		a.refuse(faultOf(o.Refusal), o.Code)
	case a.answer == nil && o.Presence != nil && o.Presence.Members == nil:
		a.end()
		a.s.Unsubscribe(a.topic)
		a.refuse(fault{limitReached, quotaStatus, "the channel has too many members for their names to be told"}, session.TooLarge)
	default:
		a.outrun = o.Asked && !o.Recovered
		a.end()
		a.succeed(o)
	}
}

func (a *attempt) refuse(f fault, code session.Code) {
	if a.answer != nil {
		a.answer(session.Outcome{Refusal: session.Refusal{Code: code, Text: f.text}})
		return
	}
	tell(a.s, code, faultFrame(a.channel, f))
}

// succeed answers that the client is subscribed.
func (a *attempt) succeed(o session.Outcome) {
	if a.answer != nil {
		a.answer(o)
		return
	}
	data := "{}"
	if o.Presence != nil {
		data = membersData(o.Presence)
	}
	a.s.Write(frame(internalPrefix+"subscription_succeeded", a.channel, data))
	switch {
	case !IsCache(a.channel), a.outrun: // the next one is about to come
	case a.cached != nil:
		a.s.Write(eventFrame(a.channel, a.cached))
	default:
		a.s.Write(cacheMissFrame(a.channel))
	}
	if a.protocol.counts && !IsPresence(a.channel) && a.s.Open() {
		a.s.WatchChanges(a.topic)
	}
}

func cacheMissFrame(channel string) []byte {
	return textFrame(append(appendString([]byte(`{"event":"pusher:cache_miss","channel":`), channel), '}'))
}

// end takes the attempt off the session's.
func (a *attempt) end() {
	a.done = true
	a.stop()
	delete(stateOf(a.s).attempts, a.channel)
	trim(a.s)
}

func (a *attempt) stop() {
	a.s.Stop(a.timer)
	a.timer = nil
}

// unsubscribe does what pusher:unsubscribe asks for. It is not answered. A user's own channel stays followed: the backend reaches
// the user by it, also to end its connections.
func (p Protocol) unsubscribe(s *session.Session, data json.RawMessage) {
	channel, err := channelOf(data)
	if _, own := UserOf(channel); err != nil || own || !ValidChannel(channel) {
		return
	}
	if st, ok := s.State().(*state); ok {
		if a := st.attempts[channel]; a != nil {
			a.end()
		}
	}
	s.Unsubscribe(p.app.Topic(channel))
}
