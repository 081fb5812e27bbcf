package centrifugo

import (
	"bytes"
	"encoding/json"
	"strings"

	pb "github.com/centrifugal/protocol"

	"wshub/pubsub"
	"wshub/session"
)

// presence answers who follows a channel: all, since the protocol knows no pages. Of too many it says so.
func (c command) presence(r *pb.PresenceRequest) {
	c.s.Presence(strings.Clone(r.Channel), "", pubsub.MaxPresencePage, func(p pubsub.Presence, why session.Refusal) {
		switch {
		case !why.None():
			c.refuse(why)
		case p.Next != "":
			c.fail(errLimit)
		default:
			result := &pb.PresenceResult{Presence: make(map[string]*pb.ClientInfo, len(p.Members))}
			for i := range p.Members {
				result.Presence[p.Members[i].Session] = infoOf(&p.Members[i])
			}
			c.answer(&pb.Reply{Presence: result})
		}
	})
}

// presenceStats answers how many follow a channel.
func (c command) presenceStats(r *pb.PresenceStatsRequest) {
	c.s.PresenceStats(strings.Clone(r.Channel), func(p pubsub.Presence, why session.Refusal) {
		if why.None() {
			c.answer(&pb.Reply{PresenceStats: &pb.PresenceStatsResult{NumClients: uint32(p.Clients), NumUsers: uint32(p.Users)}})
		} else {
			c.refuse(why)
		}
	})
}

// moved is the push of a change of a channel's presence. There is none for counts.
func moved(m *pubsub.Moved) *pb.Push {
	switch {
	case m.Counted:
		return nil
	case m.Left:
		return &pb.Push{Channel: m.Topic, Leave: &pb.Leave{Info: infoOf(&m.Member)}}
	}
	return &pb.Push{Channel: m.Topic, Join: &pb.Join{Info: infoOf(&m.Member)}}
}

// infoOf is a member as the protocol has it.
func infoOf(m *pubsub.Member) *pb.ClientInfo {
	return &pb.ClientInfo{User: m.User, Client: m.Session, ConnInfo: oneLine(m.Info)}
}

// oneLine is JSON without line ends: in a frame of JSON these end a reply.
func oneLine(text json.RawMessage) pb.Raw {
	if bytes.IndexByte(text, '\n') < 0 {
		return pb.Raw(text)
	}
	var compact bytes.Buffer
	if json.Compact(&compact, text) != nil {
		return nil
	}
	return compact.Bytes()
}
