package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"time"

	"wshub/pubsub"
	"wshub/session"
	"wshub/session/centrifugo/offset"
)

// centrifugoMethods does the methods of Centrifugo's server API. Members of params that a method does not know are
// ignored; empty ones count as absent, since some libraries send every member.
var centrifugoMethods = map[string]func(a *centrifugoAPI, ctx context.Context, params []byte) (any, error){
	"publish":        (*centrifugoAPI).doPublish,
	"broadcast":      (*centrifugoAPI).doBroadcast,
	"subscribe":      (*centrifugoAPI).doSubscribe,
	"unsubscribe":    (*centrifugoAPI).doUnsubscribe,
	"disconnect":     (*centrifugoAPI).doDisconnect,
	"refresh":        (*centrifugoAPI).doRefresh,
	"history":        (*centrifugoAPI).doHistory,
	"history_remove": (*centrifugoAPI).doHistoryRemove,
	"channels":       (*centrifugoAPI).doChannels,
	"info":           (*centrifugoAPI).doInfo,
	"presence":       (*centrifugoAPI).doPresence,
	"presence_stats": (*centrifugoAPI).doPresenceStats,
	"rpc":            (*centrifugoAPI).unavailable,
}

func (*centrifugoAPI) unavailable(context.Context, []byte) (any, error) { return nil, errNotAvailable }

// readParams reads a command's params.
func readParams(params []byte, v any) error {
	if err := json.Unmarshal(params, v); err != nil {
		return badCommand("%s", badJSON(err, "an object").message)
	}
	return nil
}

func isNull(value json.RawMessage) bool { return len(value) == 0 || string(value) == "null" }

func isEmptyList(value []byte) bool {
	var list []json.RawMessage
	return json.Unmarshal(value, &list) == nil && len(list) == 0
}

func badChannel() error {
	return badCommand("channel: want 1 to %d bytes without control characters", pubsub.MaxTopic)
}

// maybe is an object that may be absent, also as null or as the empty list that PHP makes of it.
type maybe[T any] struct {
	given bool
	value T
}

// UnmarshalJSON implements json.Unmarshaler.
func (m *maybe[T]) UnmarshalJSON(b []byte) error {
	if isNull(b) || isEmptyList(b) {
		return nil
	}
	m.given = true
	return json.Unmarshal(b, &m.value)
}

// streamPosition is a place in a channel's history.
type streamPosition struct {
	Offset uint64 `json:"offset,omitempty"`
	Epoch  string `json:"epoch,omitempty"`
}

func placeOf(p pubsub.Position) streamPosition {
	epoch, at := offset.Of(p)
	return streamPosition{at, epoch}
}

// none is the result of methods without one.
type none struct{}

// content is what an event has in publish and broadcast.
type content struct {
	Data           json.RawMessage          `json:"data"`
	B64Data        string                   `json:"b64data"`
	SkipHistory    bool                     `json:"skip_history"`
	Tags           maybe[map[string]string] `json:"tags"`
	IdempotencyKey string                   `json:"idempotency_key"`
}

// publication is the event, for one channel.
func (c *content) publication(channel string, maxMessage int) (pubsub.Publication, error) {
	p := pubsub.Publication{Topic: channel, Data: c.Data, Key: c.IdempotencyKey, Caller: "api", Unkept: c.SkipHistory}
	if c.B64Data != "" {
		var err error
		if p.Data, err = base64.StdEncoding.DecodeString(c.B64Data); err != nil || !json.Valid(p.Data) {
			return p, badCommand("b64data: want JSON in base64: the hub carries nothing else")
		}
	}
	switch {
	case !pubsub.ValidTopic(channel):
		return p, badChannel()
	case len(p.Data) == 0:
		return p, badCommand("data is missing")
	case len(p.Data) > maxMessage:
		return p, badCommand("data may have %d bytes", maxMessage)
	}
	if len(c.Tags.value) > 0 {
		p.Attributes = &pubsub.Attributes{Tags: c.Tags.value}
	}
	return p, p.Attributes.Validate()
}

func (a *centrifugoAPI) doPublish(ctx context.Context, params []byte) (any, error) {
	var in struct {
		Channel string `json:"channel"`
		content
	}
	if err := readParams(params, &in); err != nil {
		return nil, err
	}
	p, err := in.publication(in.Channel, a.publish.maxMessage)
	if err != nil {
		return nil, err
	}
	return a.publishOne(ctx, p)
}

func (a *centrifugoAPI) publishOne(ctx context.Context, p pubsub.Publication) (any, error) {
	results, err := a.hub.Publish(ctx, []pubsub.Publication{p})
	if err == nil {
		err = results[0].Err
	}
	if err != nil {
		return nil, err
	}
	return placeOf(results[0].Position), nil
}

// doBroadcast publishes to each channel by itself: one that is none does not keep the event from the others.
func (a *centrifugoAPI) doBroadcast(ctx context.Context, params []byte) (any, error) {
	var in struct {
		Channels []string `json:"channels"`
		content
	}
	if err := readParams(params, &in); err != nil {
		return nil, err
	}
	if n := len(in.Channels); n == 0 || n > centrifugoCommands {
		return nil, badCommand("channels: want 1 to %d", centrifugoCommands)
	}
	responses := make([]reply, len(in.Channels))
	var batch []pubsub.Publication
	var places []int // in responses, of batch
	for i, channel := range in.Channels {
		p, err := in.publication(channel, a.publish.maxMessage)
		if err != nil {
			responses[i].Error = toReplyError(err)
			continue
		}
		batch, places = append(batch, p), append(places, i)
	}
	answer := func(i int, result any, err error) {
		if err != nil {
			responses[i].Error = toReplyError(err)
		} else {
			responses[i].Result = result
		}
	}
	results, err := a.hub.Publish(ctx, batch)
	for i, place := range places {
		switch {
		case errors.Is(err, session.ErrBadPublication): // of one; none was published
			result, err := a.publishOne(ctx, batch[i])
			answer(place, result, err)
		case err != nil:
			answer(place, nil, err)
		default:
			answer(place, placeOf(results[i].Position), results[i].Err)
		}
	}
	return map[string]any{"responses": responses}, nil
}

// whom is the sessions that a command names: those of a user, or one of them, as client or as session.
type whom struct {
	User    string `json:"user"`
	Client  string `json:"client"`
	Session string `json:"session"`
}

func (w whom) target() (session.Target, error) {
	name := w.Client
	if name == "" {
		name = w.Session
	}
	switch {
	case w.Session != "" && w.Session != name:
		return session.Target{}, badCommand("client and session name different sessions")
	case name != "":
		return session.Target{Session: name, Of: w.User}, nil
	case w.User == "":
		return session.Target{}, badCommand("user or client is missing")
	}
	return session.Target{User: w.User}, nil
}

func (a *centrifugoAPI) doSubscribe(ctx context.Context, params []byte) (any, error) {
	var in struct {
		whom
		Channel      string                `json:"channel"`
		RecoverSince maybe[streamPosition] `json:"recover_since"`
		ExpireAt     int64                 `json:"expire_at"`
		Data         maybe[any]            `json:"data"`
		B64Data      string                `json:"b64data"`
	}
	if err := readParams(params, &in); err != nil {
		return nil, err
	}
	target, err := in.target()
	if err != nil {
		return nil, err
	}
	if !pubsub.ValidTopic(in.Channel) {
		return nil, badChannel()
	}
	if in.Data.given || in.B64Data != "" {
		return nil, &replyError{108, "not available: data of a subscription"}
	}
	f := session.Following{Topic: in.Channel}
	if in.ExpireAt > 0 {
		f.Until = time.Unix(in.ExpireAt, 0)
	}
	if in.RecoverSince.given {
		since, err := a.position(ctx, in.Channel, in.RecoverSince.value)
		switch {
		case errors.Is(err, pubsub.ErrBadPosition): // of another server: nothing is recovered, and the client is told
			since = offset.Nowhere
		case err != nil:
			return nil, err
		}
		f.Since = &since
	}
	return none{}, a.hub.Subscribe(ctx, target, f)
}

// position is the hub's position of a place in channel. Without an epoch it is of the present one.
func (a *centrifugoAPI) position(ctx context.Context, channel string, at streamPosition) (pubsub.Position, error) {
	p, err := offset.Position(at.Epoch, at.Offset)
	if err != nil || p.IsZero() || p.Epoch != 0 {
		return p, err
	}
	now, err := a.hub.Replay(ctx, channel, pubsub.Start, pubsub.Limit{})
	p.Epoch = now.Head.Epoch
	return p, err
}

func (a *centrifugoAPI) doUnsubscribe(ctx context.Context, params []byte) (any, error) {
	var in struct {
		whom
		Channel string `json:"channel"`
	}
	if err := readParams(params, &in); err != nil {
		return nil, err
	}
	target, err := in.target()
	if err != nil {
		return nil, err
	}
	return none{}, a.hub.Unsubscribe(ctx, target, in.Channel)
}

// doDisconnect closes connections as /api/disconnect does: the code and the reason that may be given are the hub's own.
func (a *centrifugoAPI) doDisconnect(ctx context.Context, params []byte) (any, error) {
	var in struct {
		whom
		Whitelist []string `json:"whitelist"`
	}
	if err := readParams(params, &in); err != nil {
		return nil, err
	}
	target, err := in.target()
	if err != nil {
		return nil, err
	}
	target.Keep = in.Whitelist
	return none{}, a.hub.Disconnect(ctx, target)
}

func (a *centrifugoAPI) doRefresh(ctx context.Context, params []byte) (any, error) {
	var in struct {
		whom
		Expired  bool  `json:"expired"`
		ExpireAt int64 `json:"expire_at"`
	}
	if err := readParams(params, &in); err != nil {
		return nil, err
	}
	target, err := in.target()
	if err != nil {
		return nil, err
	}
	var expires time.Time
	switch {
	case in.Expired:
		expires = time.Now()
	case in.ExpireAt < 0:
		return nil, badCommand("expire_at: want seconds since 1970")
	case in.ExpireAt > 0:
		expires = time.Unix(in.ExpireAt, 0)
	}
	return none{}, a.hub.Refresh(ctx, target, expires)
}

// channelParams are those of a command about one channel's history.
type channelParams struct {
	Channel string `json:"channel"`
}

// validate refuses a name that is no channel, and a channel without history.
func (p channelParams) validate(a *centrifugoAPI) error {
	switch {
	case !pubsub.ValidTopic(p.Channel):
		return badChannel()
	case !a.hub.Keeps(p.Channel):
		return errNotAvailable
	}
	return nil
}

func (a *centrifugoAPI) doHistoryRemove(ctx context.Context, params []byte) (any, error) {
	var in channelParams
	if err := readParams(params, &in); err != nil {
		return nil, err
	}
	if err := in.validate(a); err != nil {
		return nil, err
	}
	return none{}, a.hub.RemoveHistory(ctx, in.Channel)
}

// pastEvent is an event of a history.
type pastEvent struct {
	Data json.RawMessage   `json:"data"`
	Info json.RawMessage   `json:"info,omitempty"`
	Tags map[string]string `json:"tags,omitempty"`
	streamPosition
}

// past is an event of a history.
func past(ev *pubsub.Event) pastEvent {
	_, at := offset.Of(ev.Position)
	p := pastEvent{Data: ev.Data, streamPosition: streamPosition{Offset: at}}
	if a := ev.Attributes; a != nil {
		p.Info, p.Tags = a.Info, a.Tags
	}
	return p
}

// history is the result of a command history.
type history struct {
	Publications []pastEvent `json:"publications"`
	streamPosition
}

func (a *centrifugoAPI) doHistory(ctx context.Context, params []byte) (any, error) {
	var in struct {
		channelParams
		Limit   int                   `json:"limit"`
		Since   maybe[streamPosition] `json:"since"`
		Reverse bool                  `json:"reverse"`
	}
	if err := readParams(params, &in); err != nil {
		return nil, err
	}
	if err := in.validate(a); err != nil {
		return nil, err
	}
	switch {
	case in.Limit < -1:
		return nil, badCommand("limit: want a number of events, or -1")
	case in.Limit < 0 || in.Limit > a.limit:
		in.Limit = a.limit
	}
	since, err := a.position(ctx, in.Channel, in.Since.value)
	if errors.Is(err, pubsub.ErrBadPosition) {
		return nil, errUnrecoverable
	} else if err != nil {
		return nil, err
	}
	if !enter(ctx, a.reading, int64(a.pageBytes)) {
		return nil, &replyError{100, "internal server error: too many histories are read at once"}
	}
	defer a.reading.Release(int64(a.pageBytes))
	limit := pubsub.Limit{Events: in.Limit, Bytes: a.pageBytes, Backwards: in.Reverse}
	page, err := a.hub.Replay(ctx, in.Channel, since, limit)
	events, head := page.Events, page.Head
	switch {
	case err != nil:
		return nil, err
	case !since.IsZero() && since.Epoch != head.Epoch:
		return nil, errUnrecoverable
	}
	result := history{make([]pastEvent, len(events)), placeOf(head)}
	for i, ev := range events {
		result.Publications[i] = past(ev)
	}
	return result, nil
}

// doChannels lists the channels that sessions of this hub follow; it does not know other hubs'.
func (a *centrifugoAPI) doChannels(ctx context.Context, params []byte) (any, error) {
	var in struct {
		Pattern string `json:"pattern"`
	}
	if err := readParams(params, &in); err != nil {
		return nil, err
	}
	match, err := globMatcher(in.Pattern)
	if err != nil {
		return nil, badCommand("pattern: %v", err)
	}
	if !enter(ctx, a.surveying, 1) {
		return nil, pubsub.ErrUnavailable
	}
	defer a.surveying.Release(1)
	followers, few, err := a.hub.Topics(ctx, match, mostChannels)
	switch {
	case err != nil:
		return nil, err
	case !few:
		return nil, badCommand("more than %d channels match; give a pattern that fewer do", mostChannels)
	}
	type channel struct {
		NumClients int `json:"num_clients"`
	}
	channels := make(map[string]channel, len(followers))
	for name, n := range followers {
		channels[name] = channel{n}
	}
	return map[string]any{"channels": channels}, nil
}

// node is a hub in the answer of info.
type node struct {
	UID         string `json:"uid"`
	Name        string `json:"name"`
	Version     string `json:"version"`
	NumClients  int64  `json:"num_clients"`
	NumUsers    int    `json:"num_users"`
	NumChannels int    `json:"num_channels"`
	NumSubs     int64  `json:"num_subs"`
	Uptime      int64  `json:"uptime"`
}

// doInfo describes this hub; it does not know others.
func (a *centrifugoAPI) doInfo(ctx context.Context, _ []byte) (any, error) {
	if !enter(ctx, a.surveying, 1) {
		return nil, pubsub.ErrUnavailable
	}
	defer a.surveying.Release(1)
	users, topics, err := a.hub.Census(ctx)
	if err != nil {
		return nil, err
	}
	stats := a.hub.Stats()
	this := node{
		UID: a.node, Name: a.node, Version: readVersion().version, NumUsers: users, NumChannels: topics,
		NumSubs: stats.Subscriptions, Uptime: int64(time.Since(a.born).Seconds()),
	}
	for _, n := range stats.Sessions {
		this.NumClients += n
	}
	return map[string]any{"nodes": []node{this}}, nil
}
