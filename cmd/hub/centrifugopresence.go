package main

import (
	"context"
	"encoding/json"
	"errors"

	"wshub/pubsub"
)

// clientInfo is a member of a channel in Centrifugo's words.
type clientInfo struct {
	Client   string          `json:"client"`
	User     string          `json:"user"`
	ConnInfo json.RawMessage `json:"conn_info,omitempty"`
}

// doPresence lists who follows a channel: all of them, so of too many it is refused.
func (a *centrifugoAPI) doPresence(ctx context.Context, params []byte) (any, error) {
	p, err := a.readPresence(ctx, params, pubsub.MaxPresencePage)
	if err != nil {
		return nil, err
	}
	if p.Next != "" {
		return nil, badCommand("more than %d clients follow the channel: read them by /api/presence", pubsub.MaxPresencePage)
	}
	clients := make(map[string]clientInfo, len(p.Members))
	for _, m := range p.Members {
		clients[m.Session] = clientInfo{m.Session, m.User, m.Info}
	}
	return map[string]any{"presence": clients}, nil
}

// doPresenceStats counts who follows a channel.
func (a *centrifugoAPI) doPresenceStats(ctx context.Context, params []byte) (any, error) {
	p, err := a.readPresence(ctx, params, 0)
	if err != nil {
		return nil, err
	}
	return map[string]any{"num_clients": p.Clients, "num_users": p.Users}, nil
}

func (a *centrifugoAPI) readPresence(ctx context.Context, params []byte, limit int) (pubsub.Presence, error) {
	var in channelParams
	if err := readParams(params, &in); err != nil {
		return pubsub.Presence{}, err
	}
	if !pubsub.ValidTopic(in.Channel) {
		return pubsub.Presence{}, badChannel()
	}
	p, err := a.hub.Presence(ctx, in.Channel, "", limit)
	if errors.Is(err, pubsub.ErrNoPresence) {
		err = errNotAvailable
	}
	return p, err
}
