package pusher

import (
	"encoding/json"

	"wshub/session"
)

// persona is the signed-in user as others see it.
func (st *state) persona() *session.Persona {
	members, _ := object(st.data)
	return &session.Persona{User: st.user, Info: members["user_info"]}
}

// signIn does what pusher:signin asks for: the connection is the user's that its backend has signed. The session follows
// the user's own channel from then on, whether the client subscribes to it or not.
func (p Protocol) signIn(s *session.Session, data json.RawMessage) {
	members, err := object(data)
	if err != nil {
		tell(s, session.BadRequest, errorFrame(noCode, err.Error()))
		return
	}
	auth, err1 := text(members["auth"])
	described, err2 := text(members["user_data"])
	if err1 != nil || err2 != nil || !p.signs.Load().signed(auth, SocketOf(s.Name())+"::user::"+described) {
		s.Drop("pusher_signin", "the auth of a signin is not a signature of its socket_id and user_data by this application's secret")
		s.Close(unauthorized)
		return
	}
	about, err := object(json.RawMessage(described))
	user := identity(about["id"])
	had := userOf(s)
	switch {
	case err != nil || !ValidUser(user):
		tell(s, session.BadRequest, errorFrame(noCode, "user_data: want an object whose id is a text of 1 to 128 bytes"))
	case had != "" && had != user:
		tell(s, session.BadRequest, errorFrame(noCode, "the connection is signed in as another user"))
	case had == user && s.Follows(p.app.Topic(UserChannel(user))):
		p.signedIn(s)
	case had == user: // about to be answered
	default:
		st := stateOf(s)
		st.user, st.data = user, json.RawMessage(described)
		a := &attempt{protocol: p, s: s, channel: UserChannel(user), topic: p.app.Topic(UserChannel(user)), as: &session.Persona{User: user}}
		a.answer = func(o session.Outcome) {
			if !o.None() {
				st.user, st.data = "", nil
				trim(s)
				tell(s, o.Code, errorFrame(noCode, o.Text))
				return
			}
			p.signedIn(s)
			p.beOnline(s, user, watchlist(about["watchlist"], user))
		}
		a.begin()
	}
}

// signedIn answers a signin.
func (p Protocol) signedIn(s *session.Session) {
	data := append(appendString([]byte(`{"user_data":`), stateOf(s).data), '}')
	s.Write(frame("pusher:signin_success", "", string(data)))
}
