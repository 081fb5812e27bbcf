package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/rs/zerolog"

	"wshub/pubsub"
	"wshub/session"
	"wshub/session/pusher"
)

// pusherHub is what the API of Pusher's applications needs of the hub. session.Hub is one.
type pusherHub interface {
	Publish(ctx context.Context, batch []pubsub.Publication) ([]pubsub.Result, error)
	Presence(ctx context.Context, topic, after string, limit int) (pubsub.Presence, error)
	Replay(ctx context.Context, topic string, since pubsub.Position, limit pubsub.Limit) (pubsub.Replay, error)
	DisconnectFollowers(ctx context.Context, topic string) error
}

// pusherAPI is the HTTP API of Pusher's applications, under /apps/ID, as backend libraries speak it. A request is guarded by
// the signature of its application's backend alone. Counts are of all hubs.
type pusherAPI struct {
	apps     atomic.Pointer[map[string]*pusher.App] // by id
	hub      pusherHub
	channels channelLister
	publish  publishAPI // for its room for bodies
	log      zerolog.Logger
	now      func() time.Time
}

const (
	// pusherTime bounds one request.
	pusherTime = 10 * time.Second
	// pusherChannels bounds the channels of one event, pusherBatch the events of one batch.
	pusherChannels, pusherBatch = 100, 10
	// pusherBody bounds a body, in bytes: of a batch whose data is escaped in JSON.
	pusherBody = 1 << 20
	// pusherParameters bounds those of a query, which are sorted before anybody has shown a signature. The API has seven.
	pusherParameters = 32
)

// pusherPublic has the API answer on the public port, too.
const pusherPublic = "public"

// newPusherAPI makes the API, nil without applications.
func newPusherAPI(c *config, log zerolog.Logger, hub pusherHub, channels channelLister, publish publishAPI) *pusherAPI {
	apps, err := c.pusherApps()
	if err != nil || len(apps) == 0 { // the settings were validated
		return nil
	}
	a := &pusherAPI{hub: hub, channels: channels, publish: publish, log: log, now: time.Now}
	byID := make(map[string]*pusher.App)
	for _, app := range apps {
		byID[app.ID] = app
	}
	a.apps.Store(&byID)
	return a
}

// useSecrets has requests judged by the secrets of apps, which are the same applications, from now on. All else about them stays as it was at
// the start, as it does for their clients.
func (a *pusherAPI) useSecrets(apps []*pusher.App) {
	byID := maps.Clone(*a.apps.Load())
	for _, app := range apps {
		if had := byID[app.ID]; had != nil {
			byID[app.ID] = had.WithSecret(app.Secret)
		}
	}
	a.apps.Store(&byID)
}

// route splits the path of a request: into the application, whose folder may stand behind a proxy's prefix, and the segments
// behind it. app is nil for another path.
func (a *pusherAPI) route(path string) (app *pusher.App, segments []string, ours bool) {
	i := strings.Index(path, "/apps/")
	if i < 0 {
		return nil, nil, false
	}
	segments = strings.Split(path[i+len("/apps/"):], "/")
	app = (*a.apps.Load())[segments[0]]
	return app, segments[1:], app != nil || i == 0
}

// before answers the requests to the API, and hands others on to next.
func (a *pusherAPI) before(next, counted http.Handler) http.Handler {
	if a == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, _, ours := a.route(r.URL.EscapedPath()); ours {
			counted.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// pusherHead is the head of a request, whose signature is good.
type pusherHead struct {
	app      *pusher.App
	method   string
	segments []string // behind the application's folder
	query    url.Values
}

// pusherCall is a request whose signature is good.
type pusherCall struct {
	*pusherAPI
	*pusherHead
	ctx  context.Context
	body []byte
}

// verify reads the head of a request, and refuses one that no application's backend has signed.
func (a *pusherAPI) verify(method string, u *url.URL) (*pusherHead, *apiError) {
	path := u.EscapedPath()
	app, segments, _ := a.route(path)
	if app == nil {
		return nil, unauthorized("there is no application of this id (--pusher-app)")
	}
	if strings.Count(u.RawQuery, "&") >= pusherParameters {
		return nil, badRequest(session.BadRequest, fmt.Sprintf("the query may have %d parameters", pusherParameters))
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, badRequest(session.BadRequest, "the query is malformed")
	}
	if err := app.VerifyRequest(method, path, query, a.now()); err != nil {
		return nil, unauthorized(err.Error())
	}
	return &pusherHead{app, method, segments, query}, nil
}

// answer does what a request asks for, whose body is there.
func (a *pusherAPI) answer(ctx context.Context, head *pusherHead, body []byte) (any, *apiError) {
	if err := pusher.VerifyBody(head.query, body); err != nil {
		return nil, unauthorized(err.Error())
	}
	ctx, cancel := context.WithTimeout(ctx, pusherTime)
	defer cancel()
	return pusherCall{a, head, ctx, body}.do()
}

func (a *pusherAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answer, refusal := a.serve(w, r)
	if refusal != nil {
		a.log.Debug().Str("peer", r.RemoteAddr).Str("path", r.URL.Path).Int("status", refusal.status).Str("why", refusal.message).Msg("a request of a Pusher backend is refused")
		refusal.write(w)
		return
	}
	writeJSON(w, http.StatusOK, answer)
}

func (a *pusherAPI) serve(w http.ResponseWriter, r *http.Request) (any, *apiError) {
	head, refusal := a.verify(r.Method, r.URL)
	if refusal != nil {
		return nil, refusal
	}
	size, leave, refusal := a.publish.enter(r)
	if refusal != nil {
		return nil, refusal
	}
	defer leave()
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, min(size, pusherBody)))
	switch {
	case errors.As(err, new(*http.MaxBytesError)):
		return nil, tooLarge("the body", pusherBody)
	case err != nil:
		return nil, badRequest(session.BadRequest, "the body did not come whole")
	}
	return a.answer(r.Context(), head, body)
}

// do does what the path behind the application's folder names.
func (c pusherCall) do() (any, *apiError) {
	names := make([]string, len(c.segments))
	for i, s := range c.segments {
		name, err := url.PathUnescape(s)
		if err != nil {
			return nil, badRequest(session.BadRequest, "the path is malformed")
		}
		names[i] = name
	}
	name := ""
	if len(names) > 1 {
		name, names[1] = names[1], "*"
	}
	switch c.method + " " + strings.Join(names, "/") {
	case "POST events":
		return c.events()
	case "POST batch_events":
		return c.batchEvents()
	case "GET channels":
		return c.listChannels()
	case "GET channels/*":
		return c.channel(name)
	case "GET channels/*/users":
		return c.users(name)
	case "POST users/*/terminate_connections":
		return c.terminate(name)
	}
	return nil, badRequest(session.BadRequest, "the API has no such path and method")
}

// pusherEvent is an event as backends send it.
type pusherEvent struct {
	Name     string   `json:"name"`
	Data     *string  `json:"data"`
	Channel  string   `json:"channel"`
	Channels []string `json:"channels"`
	Socket   string   `json:"socket_id"`
	Info     string   `json:"info"`
}

// publications are the event, once for each channel.
func (c pusherCall) publications(ev *pusherEvent) (batch []pubsub.Publication, refusal *apiError) {
	channels, except, ok := ev.Channels, "", true
	if ev.Channel != "" {
		channels = append(channels, ev.Channel)
	}
	if ev.Socket != "" {
		if except, ok = pusher.SessionOf(ev.Socket); !ok {
			return nil, badRequest(session.BadRequest, "socket_id: want two numbers and a dot between them")
		}
	}
	switch {
	case !pusher.ValidName(ev.Name):
		return nil, badRequest(session.BadRequest, "name: want 1 to 200 bytes")
	case ev.Data == nil:
		return nil, badRequest(session.BadRequest, "data: want a text")
	case len(*ev.Data) > pusher.MaxEvent:
		return nil, tooLarge("the data of an event", pusher.MaxEvent)
	case len(channels) == 0 || len(channels) > pusherChannels:
		return nil, badRequest(session.BadRequest, fmt.Sprintf("channels: want 1 to %d", pusherChannels))
	}
	for _, channel := range channels {
		if !pusher.ValidChannel(channel) {
			return nil, badRequest(session.BadRequest, fmt.Sprintf("%.200q is no name of a channel: want at most 164 of A-Z a-z 0-9 _ - = @ , . ;", channel))
		}
		batch = append(batch, c.app.Publication(channel, ev.Name, *ev.Data, except))
	}
	return batch, nil
}

// send publishes all of batch. What the hub can't take because it is too long for --max-message is told so.
func (c pusherCall) send(batch []pubsub.Publication) *apiError {
	for _, p := range batch {
		if len(p.Data) > c.publish.maxMessage {
			return tooLarge("an event with its name (--max-message)", c.publish.maxMessage)
		}
	}
	results, err := c.hub.Publish(c.ctx, batch)
	if err != nil {
		return brokerError(err)
	}
	return outcomeOf(results)
}

// outcomeOf is nil where all was published. Where some of it was, or may have been, it does not say that nothing was: whoever sends that again
// publishes the rest twice.
func outcomeOf(results []pubsub.Result) *apiError {
	var failed error
	undone := 0
	for _, r := range results {
		if failed = cmp.Or(failed, r.Err); r.Err != nil && !errors.Is(r.Err, pubsub.ErrUnknownOutcome) {
			undone++
		}
	}
	switch {
	case failed == nil:
		return nil
	case undone == 0, undone == len(results):
		return brokerError(failed)
	}
	return unknownOutcome(fmt.Sprintf("%d of %d events were not published; the others were, or may have been", undone, len(results)))
}

// uncountedEvents is the answer to a request whose events were published, and whose counts can't be read.
func uncountedEvents(why *apiError) *apiError {
	return unknownOutcome("the events were published, but not counted (info): " + string(why.code))
}

func unknownOutcome(message string) *apiError {
	return &apiError{http.StatusGatewayTimeout, session.UnknownOutcome, message}
}

func (c pusherCall) decode(v any) *apiError {
	if !utf8.Valid(c.body) {
		return badRequest(session.BadJSON, "the body is not UTF-8")
	}
	if err := json.Unmarshal(c.body, v); err != nil {
		return badJSON(err, "an object")
	}
	return nil
}

func (c pusherCall) events() (any, *apiError) {
	var ev pusherEvent
	if refusal := c.decode(&ev); refusal != nil {
		return nil, refusal
	}
	batch, refusal := c.publications(&ev)
	if refusal != nil {
		return nil, refusal
	}
	wanted, refusal := parseInfo(ev.Info, "user_count", "subscription_count")
	if refusal != nil {
		return nil, refusal
	}
	if refusal := c.send(batch); refusal != nil || ev.Info == "" {
		return none{}, refusal
	}
	channels := make(map[string]channelInfo, len(batch))
	for i := range batch {
		channel := c.app.Channel(batch[i].Topic)
		info, refusal := c.info(channel, wanted)
		if refusal != nil {
			return nil, uncountedEvents(refusal)
		}
		channels[channel] = info
	}
	return map[string]any{"channels": channels}, nil
}

func (c pusherCall) batchEvents() (any, *apiError) {
	var in struct {
		Batch []pusherEvent `json:"batch"`
	}
	if refusal := c.decode(&in); refusal != nil {
		return nil, refusal
	}
	if len(in.Batch) == 0 || len(in.Batch) > pusherBatch {
		return nil, badRequest(session.BadRequest, fmt.Sprintf("batch: want 1 to %d events", pusherBatch))
	}
	var batch []pubsub.Publication
	wanted, asked := make([]infoWanted, len(in.Batch)), false
	for i := range in.Batch {
		ev := &in.Batch[i]
		list, refusal := c.publications(ev)
		if refusal == nil && len(list) != 1 {
			refusal = badRequest(session.BadRequest, "channel: want one for each event of a batch")
		}
		if refusal == nil {
			wanted[i], refusal = parseInfo(ev.Info, "user_count", "subscription_count")
		}
		if refusal != nil {
			refusal.message = fmt.Sprintf("event %d: %s; nothing was published", i+1, refusal.message)
			return nil, refusal
		}
		batch, asked = append(batch, list...), asked || ev.Info != ""
	}
	if refusal := c.send(batch); refusal != nil || !asked {
		return none{}, refusal
	}
	infos := make([]channelInfo, len(batch))
	for i := range batch {
		info, refusal := c.info(c.app.Channel(batch[i].Topic), wanted[i])
		if refusal != nil {
			return nil, uncountedEvents(refusal)
		}
		infos[i] = info
	}
	return map[string]any{"batch": infos}, nil
}

// terminate closes all connections of a user.
func (c pusherCall) terminate(user string) (any, *apiError) {
	if !pusher.ValidUser(user) {
		return nil, badRequest(session.BadRequest, "the user's name must have 1 to 128 bytes")
	}
	if err := c.hub.DisconnectFollowers(c.ctx, c.app.Topic(pusher.UserChannel(user))); err != nil {
		return nil, brokerError(err)
	}
	return none{}, nil
}
