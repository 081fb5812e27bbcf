package pusher

import (
	"encoding/json"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"wshub/engine"
	"wshub/pubsub"
	"wshub/session"
)

// Path is the folder of the public port under which clients look for their application's key.
const Path = "/app/"

const (
	// The versions of the protocol that clients may speak.
	firstVersion, lastVersion = 5, 7
	// activityTimeout is how long a client is silent before it sends a ping, in seconds. A client takes its own 120 if that
	// is less.
	activityTimeout = 120

	internalPrefix = "pusher_internal:"
	clientPrefix   = "client-"
)

// Protocol is Pusher's protocol for the clients of one application.
type Protocol struct {
	app *App // nil: there is none
	// signs is the state of app whose secret holds now.
	signs *atomic.Pointer[App]
	// counts: subscribers are told how many there are.
	counts bool
}

// New makes the protocol for app. With counts, subscribers of all but presence channels are told how many they are,
// whenever that changes.
func New(app *App, counts bool) Protocol {
	p := Protocol{app: app, signs: new(atomic.Pointer[App]), counts: counts}
	p.signs.Store(app)
	return p
}

// UseSecret has signatures judged by another secret of the application from now on. Whoever has been let in stays.
func (p Protocol) UseSecret(secret string) { p.signs.Store(p.app.WithSecret(secret)) }

// Unknown is for clients whose key is no application's: they are told so.
func Unknown() Protocol { return Protocol{} }

// Name implements session.Protocol.
func (Protocol) Name() string { return "pusher" }

// Subprotocols implements session.Protocol.
func (Protocol) Subprotocols() []string { return subprotocols }

var subprotocols = []string{""} // one for all handshakes

// Wall implements session.Walled.
func (p Protocol) Wall() string {
	if p.app == nil {
		return ""
	}
	return p.app.Wall()
}

// Keeps implements session.Keeper: the topics of users of a shared application. Their names end as lists of users do, by which others
// are let in elsewhere.
func (p Protocol) Keeps() []string {
	if p.app == nil || !p.app.Shared {
		return nil
	}
	return []string{serverToUser, watchPrefix}
}

// Judge implements session.Protocol.
func (p Protocol) Judge(a *session.Admission, _ *engine.Request, query url.Values) *engine.Refusal {
	a.User, a.Tokenless = "", true
	a.Format = walled
	version, err := strconv.Atoi(query.Get("protocol"))
	switch {
	case p.app == nil:
		a.Turned = unknownApp
		return nil
	case p.app.Shared:
		a.Format = shared
	}
	switch {
	case !query.Has("protocol"):
		a.Turned = noVersion
	case err != nil || version < firstVersion || version > lastVersion:
		a.Turned = badVersion
	}
	return nil
}

// First implements session.Protocol.
func (Protocol) First(s *session.Session) []byte {
	data := `{"socket_id":"` + SocketOf(s.Name()) + `","activity_timeout":` + strconv.Itoa(activityTimeout) + `}`
	return frame("pusher:connection_established", "", data)
}

// SocketOf is the socket_id of the session of that name: two decimal numbers and a dot between them.
func SocketOf(session string) string {
	id, _ := strconv.ParseUint(strings.TrimPrefix(session, "s_"), 36, 64) // it is a session's
	return strconv.FormatUint(id>>32, 10) + "." + strconv.FormatUint(id&(1<<32-1), 10)
}

// SessionOf is the name of the session whose socket_id it is. ok is false for what is no socket_id.
func SessionOf(socket string) (session string, ok bool) {
	high, low, ok := strings.Cut(socket, ".")
	h, err1 := strconv.ParseUint(high, 10, 64)
	l, err2 := strconv.ParseUint(low, 10, 64)
	if !ok || err1 != nil || err2 != nil {
		return "", false
	}
	return "s_" + strconv.FormatUint(h<<32|l&(1<<32-1), 36), true
}

// state is what the protocol keeps of a session that has signed in or waits for something.
type state struct {
	user     string              // "" before it has signed in
	data     json.RawMessage     // what the signature was over, nil likewise
	attempts map[string]*attempt // by channel
}

// stateOf returns the session's state, made if there is none.
func stateOf(s *session.Session) *state {
	st, ok := s.State().(*state)
	if !ok {
		st = &state{}
		s.SetState(st)
	}
	return st
}

// userOf is whom the session is signed in as, "" for nobody.
func userOf(s *session.Session) string {
	if st, ok := s.State().(*state); ok {
		return st.user
	}
	return ""
}

// trim lets go of the session's state once there is nothing in it.
func trim(s *session.Session) {
	if st, ok := s.State().(*state); ok && st.user == "" && len(st.attempts) == 0 {
		s.SetState(nil)
	}
}

// Opened implements session.Protocol.
func (Protocol) Opened(*session.Session, *session.Admission) {}

// Unasked implements session.Protocol. All subscriptions are asked for.
func (Protocol) Unasked(*session.Session, session.Outcome) {}

// Left implements session.Protocol.
func (p Protocol) Left(s *session.Session, topic string, why session.Refusal) {
	if channel := p.app.Channel(topic); ValidChannel(channel) {
		s.Write(faultFrame(channel, faultOf(why)))
	}
}

// Unwatched implements session.Protocol. The protocol has no words for it: no more changes are told.
func (Protocol) Unwatched(*session.Session, string, session.Refusal) {}

// Gap implements session.Protocol. No format of it ends at gaps: the protocol has no words for a loss.
func (Protocol) Gap(*session.Session, string, pubsub.Position) {}

// Expired implements session.Protocol. Its clients have no tokens.
func (Protocol) Expired(*session.Session) time.Duration { return 0 }

// Renewed implements session.Protocol.
func (Protocol) Renewed(*session.Session) {}

// Goodbye implements session.Protocol. The close code says when the client comes back: hubs send clients away at an even pace.
func (Protocol) Goodbye(*session.Session, *engine.Cause, time.Duration) {}

// Closed implements session.Protocol.
func (Protocol) Closed(s *session.Session) {
	if st, ok := s.State().(*state); ok {
		for _, a := range st.attempts {
			a.stop()
		}
	}
}

// Ping implements session.Protocol.
func (Protocol) Ping(*session.Session) []byte { return engine.PingFrame }
