package centrifugo

import (
	"encoding/json"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	pb "github.com/centrifugal/protocol"

	"wshub/pubsub"
	"wshub/session"
	"wshub/session/centrifugo/offset"
	"wshub/session/token"
)

// do does what one command asks for. Its strings may lie in the client's frame.
func (p Protocol) do(s *session.Session, cmd *pb.Command) {
	c := command{s, cmd.Id}
	switch {
	case cmd.Send != nil: // it is for an application, and there is none; it gets no answer
	case cmd.Id == 0:
		pong(s, cmd)
	case cmd.Subscribe != nil:
		c.subscribe(cmd.Subscribe)
	case cmd.Unsubscribe != nil:
		c.unsubscribe(cmd.Unsubscribe)
	case cmd.Publish != nil:
		c.publish(cmd.Publish)
	case cmd.History != nil:
		c.history(cmd.History)
	case cmd.Refresh != nil:
		c.refresh(cmd.Refresh)
	case cmd.SubRefresh != nil:
		c.subRefresh(cmd.SubRefresh)
	case cmd.Presence != nil:
		c.presence(cmd.Presence)
	case cmd.PresenceStats != nil:
		c.presenceStats(cmd.PresenceStats)
	case cmd.Rpc != nil:
		c.fail(errNotAvailable)
	default: // a second connect, a ping, or nothing
		s.Close(badRequest)
	}
}

// pong takes a command without an id: only an answer to a ping has none.
func pong(s *session.Session, cmd *pb.Command) {
	st := stateOf(s)
	if st.pings == 0 || cmd.Connect != nil || cmd.Subscribe != nil || cmd.Unsubscribe != nil || cmd.Publish != nil ||
		cmd.Presence != nil || cmd.PresenceStats != nil || cmd.History != nil || cmd.Ping != nil || cmd.Rpc != nil ||
		cmd.Refresh != nil || cmd.SubRefresh != nil {
		s.Close(badRequest)
		return
	}
	st.pings--
}

// command is a session and the id of what it asks for.
type command struct {
	s  *session.Session
	id uint32
}

func (c command) answer(r *pb.Reply) {
	r.Id = c.id
	write(c.s, r)
}

func (c command) fail(err *pb.Error) { c.answer(&pb.Reply{Error: err}) }

func (c command) refuse(r session.Refusal) {
	c.s.CountError(r.Code)
	c.fail(errorOf(r))
}

func (c command) subscribe(r *pb.SubscribeRequest) {
	if r.Type != 0 {
		c.fail(errNotAvailable)
		return
	}
	channel, recovers, epoch, at := strings.Clone(r.Channel), r.Recover, strings.Clone(r.Epoch), r.Offset
	strict, joinLeave := r.Flag&(1<<1) != 0, r.JoinLeave
	a, why := c.begin(channel)
	if !why.None() {
		c.refuse(why)
		return
	}
	c.permit(channel, r.Token, func(until time.Time, why session.Refusal) {
		report := func(o session.Outcome) {
			switch {
			case !o.None():
				c.refuse(o.Refusal)
			case strict && o.Asked && !o.Recovered:
				c.fail(errUnrecoverable)
				c.s.Unsubscribe(channel)
			default:
				c.answer(&pb.Reply{Subscribe: subscribed(c.s, o, until)})
				if joinLeave {
					c.s.WatchChanges(channel)
				}
			}
		}
		switch {
		case a.over:
			c.giveUp(channel)
		case !why.None():
			a.end()
			c.refuse(why)
		case !recovers:
			a.end()
			c.s.Subscribe(channel, nil, report)
		case epoch == "" && at > 0 && c.s.MayReadHistory(channel): // of whatever log there is
			c.s.History(channel, pubsub.Position{}, 0, false, func(replay pubsub.Replay, why session.Refusal) {
				switch {
				case a.over:
				case !why.None():
					a.end()
					c.refuse(why)
				default:
					a.end()
					epoch, _ := offset.Of(replay.Head)
					c.s.Subscribe(channel, since(epoch, at), report)
				}
			})
		default:
			a.end()
			c.s.Subscribe(channel, since(epoch, at), report)
		}
	})
}

// attempt is a subscribe command before its subscription begins: it may wait for the key of its token, or for the epoch
// of a log. Of a channel there is one at a time, and an unsubscribe ends it.
type attempt struct {
	command
	channel string
	over    bool
}

// begin notes an attempt, unless there is one for the channel, or too many.
func (c command) begin(channel string) (*attempt, session.Refusal) {
	st := stateOf(c.s)
	switch {
	case st.attempt(channel) != nil:
		return nil, session.Refusal{Code: session.AlreadyFollows}
	case st.more != nil && len(st.more.attempts) >= c.s.Hub().Config().MaxTopics:
		return nil, session.Refusal{Code: session.TooManyTopics}
	}
	a := &attempt{command: c, channel: channel}
	m := st.extra()
	m.attempts = append(m.attempts, a)
	return a, session.Refusal{}
}

// attempt is the one for channel, nil without.
func (st *state) attempt(channel string) *attempt {
	if st.more != nil {
		for _, a := range st.more.attempts {
			if a.channel == channel {
				return a
			}
		}
	}
	return nil
}

// end ends the attempt. Its command is still to be answered.
func (a *attempt) end() {
	a.over = true
	st := stateOf(a.s)
	st.more.attempts = slices.DeleteFunc(st.more.attempts, func(other *attempt) bool { return other == a })
	st.trim()
}

// giveUp takes back the right to a channel that was left while its token was checked.
func (c command) giveUp(channel string) {
	if !c.s.Follows(channel) && stateOf(c.s).attempt(channel) == nil {
		c.s.Unsubscribe(channel)
	}
}

// permit calls then with why the client may not even try to follow channel: the session's rights are asked for by the
// session itself, that of a subscription token is given here. until is when the token expires.
func (c command) permit(channel, raw string, then func(until time.Time, why session.Refusal)) {
	if raw == "" {
		then(time.Time{}, session.Refusal{})
		return
	}
	c.s.AllowBy(channel, strings.Clone(raw), func(claims token.SubscriptionClaims, why session.Refusal) {
		then(claims.Expires, why)
	})
}

func (c command) unsubscribe(r *pb.UnsubscribeRequest) {
	st := stateOf(c.s)
	if a := st.attempt(r.Channel); a != nil {
		a.end()
		a.refuse(session.Refusal{Code: session.NotSubscribed})
	}
	if why := c.s.Unsubscribe(r.Channel); !why.None() && why.Code != session.NotSubscribed {
		c.refuse(why)
		return
	}
	st.unserve(r.Channel)
	c.answer(&pb.Reply{Unsubscribe: &pb.UnsubscribeResult{}})
}

func (c command) publish(r *pb.PublishRequest) {
	switch {
	case r.Type != 0:
		c.fail(errNotAvailable)
		return
	case !utf8.Valid(r.Data) || !json.Valid(r.Data): // Protobuf clients may send anything; here an event is JSON
		c.fail(errBadRequest)
		return
	}
	p := pubsub.Publication{Topic: strings.Clone(r.Channel), Data: r.Data}
	if p.Topic != c.s.Hub().Config().Broadcast { // there any subscriber of Redis is to hear it, the data alone
		info := pb.ClientInfo{User: c.s.User(), Client: c.s.Name()}
		if m := stateOf(c.s).more; m != nil {
			info.ConnInfo = m.info
		}
		p.Attributes = &pubsub.Attributes{Info: info.AppendJSON(nil)}
	}
	c.s.Publish(p, false, func(_ pubsub.Position, why session.Refusal) {
		if !why.None() {
			c.refuse(why)
			return
		}
		c.answer(&pb.Reply{Publish: &pb.PublishResult{}})
	})
}

// refresh takes another connection token.
func (c command) refresh(r *pb.RefreshRequest) {
	c.s.Authenticate(strings.Clone(r.Token), func(why session.Refusal) {
		switch why.Code {
		case "":
			result := &pb.RefreshResult{Client: c.s.Name()}
			result.Expires, result.Ttl = ttl(c.s.Expires())
			c.answer(&pb.Reply{Refresh: result})
		case session.ExpiredToken:
			c.fail(errExpired)
		case session.BadToken, session.Forbidden:
			c.s.Close(session.Unidentified)
		default:
			c.refuse(why)
		}
	})
}

// subRefresh takes another token of a subscription.
func (c command) subRefresh(r *pb.SubRefreshRequest) {
	if r.Type != 0 {
		c.fail(errNotAvailable)
		return
	}
	if !c.s.Follows(r.Channel) {
		c.fail(errDenied)
		return
	}
	channel := strings.Clone(r.Channel)
	c.s.AllowBy(channel, strings.Clone(r.Token), func(claims token.SubscriptionClaims, why session.Refusal) {
		switch {
		case !c.s.Follows(channel): // left meanwhile
			c.giveUp(channel)
			c.fail(errDenied)
		case why.None():
			result := &pb.SubRefreshResult{}
			result.Expires, result.Ttl = ttl(claims.Expires)
			c.answer(&pb.Reply{SubRefresh: result})
		case why.Code == session.ExpiredToken:
			c.fail(errExpired)
		default:
			c.refuse(why)
		}
	})
}
