package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"wshub/pubsub"
	"wshub/session"
	"wshub/session/pusher"
)

// infoWanted is what a backend wants to know of a channel.
type infoWanted struct{ users, subscriptions, cache bool }

// parseInfo reads a list of names, all of which must be known.
func parseInfo(text string, known ...string) (w infoWanted, refusal *apiError) {
	for _, name := range strings.Split(text, ",") {
		switch name = strings.TrimSpace(name); {
		case name == "":
			continue
		case !slices.Contains(known, name):
			return w, badRequest(session.BadRequest, fmt.Sprintf("info: want %s, not %.64q", strings.Join(known, ", "), name))
		}
		w.users = w.users || name == "user_count"
		w.subscriptions = w.subscriptions || name == "subscription_count"
		w.cache = w.cache || name == "cache"
	}
	return w, nil
}

// channelInfo is a channel as backends see it.
type channelInfo struct {
	Occupied      *bool      `json:"occupied,omitempty"`
	Users         *int       `json:"user_count,omitempty"`
	Subscriptions *int       `json:"subscription_count,omitempty"`
	Cache         *cacheInfo `json:"cache,omitempty"`
}

// cacheInfo is the last event of a cache channel.
type cacheInfo struct {
	Data string `json:"data"`
	TTL  int    `json:"ttl"` // seconds
}

// info counts a channel's subscribers on all hubs. Users are counted of presence channels only.
func (c pusherCall) info(channel string, w infoWanted) (info channelInfo, refusal *apiError) {
	if !w.users && !w.subscriptions {
		return info, nil
	}
	p, err := c.hub.Presence(c.ctx, c.app.Topic(channel), "", 0)
	if err != nil {
		return info, brokerError(err)
	}
	if w.users && pusher.IsPresence(channel) {
		info.Users = &p.Users
	}
	if w.subscriptions {
		info.Subscriptions = &p.Clients
	}
	return info, nil
}

// channel answers how one channel is.
func (c pusherCall) channel(channel string) (any, *apiError) {
	if !pusher.ValidChannel(channel) {
		return nil, badRequest(session.BadRequest, "this is no name of a channel")
	}
	w, refusal := parseInfo(c.query.Get("info"), "user_count", "subscription_count", "cache")
	if refusal != nil {
		return nil, refusal
	}
	if w.users && !pusher.IsPresence(channel) {
		return nil, badRequest(session.BadRequest, "info: user_count is there of presence channels only")
	}
	topic := c.app.Topic(channel)
	p, err := c.hub.Presence(c.ctx, topic, "", 0)
	if err != nil {
		return nil, brokerError(err)
	}
	occupied := p.Clients > 0
	info := channelInfo{Occupied: &occupied}
	if w.users {
		info.Users = &p.Users
	}
	if w.subscriptions {
		info.Subscriptions = &p.Clients
	}
	if w.cache && pusher.IsCache(channel) {
		last, err := c.hub.Replay(c.ctx, topic, pubsub.Position{}, pubsub.Limit{Events: 1, Backwards: true})
		if err != nil {
			return nil, brokerError(err)
		}
		if len(last.Events) > 0 {
			data, left := pusher.Cached(last.Events[0], c.now())
			info.Cache = &cacheInfo{data, int(left.Seconds())}
		}
	}
	return info, nil
}

const (
	// pusherUsers bounds the answer to users.
	pusherUsers = 10_000
	// countsAtOnce are read at one time for one answer.
	countsAtOnce = 16
)

// users answers who is in a presence channel.
func (c pusherCall) users(channel string) (any, *apiError) {
	if !pusher.IsPresence(channel) || !pusher.ValidChannel(channel) {
		return nil, badRequest(session.BadRequest, "only presence channels have users")
	}
	seen := make(map[string]bool)
	for after, first := "", true; first || after != ""; first = false {
		p, err := c.hub.Presence(c.ctx, c.app.Topic(channel), after, pubsub.MaxPresencePage)
		if err != nil {
			return nil, brokerError(err)
		}
		for i := range p.Members {
			if user := p.Members[i].User; user != "" {
				seen[user] = true
			}
		}
		if len(seen) > pusherUsers {
			return nil, badRequest(session.BadRequest, fmt.Sprintf("the channel has more than %d users", pusherUsers))
		}
		after = p.Next
	}
	type user struct {
		ID string `json:"id"`
	}
	users := make([]user, 0, len(seen))
	for _, id := range slices.Sorted(maps.Keys(seen)) {
		users = append(users, user{id})
	}
	return map[string]any{"users": users}, nil
}

// listChannels answers which channels are occupied.
func (c pusherCall) listChannels() (any, *apiError) {
	prefix := c.query.Get("filter_by_prefix")
	w, refusal := parseInfo(c.query.Get("info"), "user_count", "subscription_count")
	switch {
	case refusal != nil:
		return nil, refusal
	case prefix != "" && !pusher.ValidChannel(prefix):
		return nil, badRequest(session.BadRequest, "filter_by_prefix: want the beginning of a channel's name")
	case w.users && !pusher.IsPresence(prefix):
		return nil, badRequest(session.BadRequest, "info: user_count needs a filter_by_prefix that begins with presence-")
	}
	topics, refusal := c.channels.list(c.ctx, c.app.Wall(), prefix)
	if refusal != nil {
		return nil, refusal
	}
	var names []string
	for _, topic := range topics {
		if name := c.app.Channel(topic); isListed(name) {
			names = append(names, name)
		}
	}
	infos, refused := make([]channelInfo, len(names)), make([]*apiError, len(names))
	var counting errgroup.Group
	counting.SetLimit(countsAtOnce)
	for i, name := range names {
		counting.Go(func() error {
			infos[i], refused[i] = c.info(name, w)
			return nil
		})
	}
	_ = counting.Wait()
	channels := make(map[string]channelInfo, len(names))
	for i, name := range names {
		if refused[i] != nil {
			return nil, refused[i]
		}
		channels[name] = infos[i]
	}
	return map[string]any{"channels": channels}, nil
}

// isListed reports whether name is that of a channel that backends are shown: none of a user's, or of what else is no channel.
func isListed(name string) bool { return pusher.ValidChannel(name) && name[0] != '#' }

// channelLister lists channels to which sessions of any hub subscribe.
type channelLister struct {
	looks *looks
	here  func(ctx context.Context, match func(topic string) bool, most int) (followers map[string]int, few bool, err error)
}

// newChannelLister makes it, and has this hub answer others.
func newChannelLister(l *looks, hub *session.Hub) channelLister {
	c := channelLister{l, hub.Topics}
	if l != nil {
		handle(l, "channels", c.page)
	}
	return c
}

// channelsQuestion asks for the topics of channels, in their order, behind one of them: of those behind a wall, "" for none, that begin
// with Prefix, which has the wall. A hub of an earlier version does not say the wall: it gets all topics that begin so.
type channelsQuestion struct {
	Prefix, After string
	Wall          *string
}

// channelsPage is as many of them as fit into an answer.
type channelsPage struct {
	Topics []string
	More   bool
}

// mostPusherChannels bounds the channels of one answer.
const mostPusherChannels = 10_000

// page lists topics of this hub. Those of users are left out here, as they may be many more than the channels.
func (c channelLister) page(ctx context.Context, q channelsQuestion) (channelsPage, error) {
	match := func(topic string) bool {
		return strings.HasPrefix(topic, q.Prefix) && topic > q.After && (q.Wall == nil || isListed(strings.TrimPrefix(topic, *q.Wall)))
	}
	found, few, err := c.here(ctx, match, 4*mostPusherChannels)
	switch {
	case err != nil:
		return channelsPage{}, err
	case !few:
		return channelsPage{}, session.ErrTooMany
	}
	names := slices.Sorted(maps.Keys(found))
	size := 0
	for i, name := range names {
		text, _ := json.Marshal(name) // a text can always be marshalled
		if size += len(text) + 1; size > lookBytes-1<<10 {
			return channelsPage{names[:i], true}, nil
		}
	}
	return channelsPage{names, false}, nil
}

// list lists the topics of the channels behind wall that begin with prefix, of all hubs, in their order.
func (c channelLister) list(ctx context.Context, wall, prefix string) (all []string, refusal *apiError) {
	for after := ""; ; {
		replies, of, err := askAll[channelsPage](ctx, c.looks, nil, "channels", channelsQuestion{wall + prefix, after, &wall})
		if err != nil || len(replies) == 0 || len(of.Failed) > 0 {
			return nil, &apiError{http.StatusServiceUnavailable, session.Busy, "the hubs can't be asked now, or have more channels than can be listed: give a filter_by_prefix"}
		}
		until := "" // up to where all hubs have answered
		for _, r := range replies {
			if n := len(r.answer.Topics); r.answer.More && n > 0 && (until == "" || r.answer.Topics[n-1] < until) {
				until = r.answer.Topics[n-1]
			}
		}
		for _, r := range replies {
			for _, topic := range r.answer.Topics {
				if until == "" || topic <= until {
					all = append(all, topic)
				}
			}
		}
		slices.Sort(all)
		all = slices.Compact(all)
		switch {
		case len(all) > mostPusherChannels:
			return nil, badRequest(session.BadRequest, fmt.Sprintf("more than %d channels are occupied: give a filter_by_prefix", mostPusherChannels))
		case until == "":
			return all, nil
		}
		after = until
	}
}
