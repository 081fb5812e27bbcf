package bench

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"wshub/bench/fleet"
)

// hint is advice for a mistake that is often made.
type hint struct{ sign, advice string }

// connectHints are for the causes of failed handshakes and closed connections. A sign is the beginning of a cause.
var connectHints = []hint{
	{"refused: 401", "the server wants a token: --jwt-secret makes one for each client, --token is one for all"},
	{"refused: 403", "the server refuses the token's rights, the topic or the origin: --jwt-secret tokens may do everything; --header='Origin: …' sets an origin"},
	{"refused: 404", "nothing is at this path: the hub has /notification and /connection/websocket on its public port (3000); 3001 is the control port"},
	{"refused: 400", "the server does not take this handshake: is it the path and the --protocol of a WebSocket server?"},
	{"refused: 405", "this is an HTTP server without WebSocket here: the control port (3001) in place of the public one (3000)?"},
	{"refused: 429", "the server limits connections or handshakes of one address or user: raise its limits, or use --connect-rate and --source"},
	{"refused: 503", "the server is full, draining, or lets in only so many at a time: look at its limits, or use --connect-rate"},
	{"refused: 200", "this is an HTTP server without WebSocket here: is the path of --url right?"},
	{"bad handshake answer: not HTTP", "whoever listens there speaks no HTTP: is it the port of the hub, not that of Redis?"},
	{"bad handshake answer: subprotocol", "the server does not speak --protocol"},
	{"4001", "the token is missing or not valid: --jwt-secret must be the hub's own HUB_JWT_SECRET; 'hub token verify' explains a token"},
	{"3500", "the token is not valid: --jwt-secret must be the hub's own HUB_JWT_SECRET"},
	{"pusher:error 4001", "no application of the server has this key: --pusher-app must be one of the hub's own"},
	{"AuthError", "the server does not let clients without a token follow this topic (--default-subscribe), or the secret of --pusher-app is not the hub's"},
	{"pusher:error 4009", "the secret of --pusher-app is not that of the hub"},
	{"4003", "the token does not allow this topic: --jwt-secret tokens may do everything"},
	{"refused: forbidden", "the server does not allow this topic: --jwt-secret tokens may do everything"},
	{"connection refused", "nobody listens at this address any more: did the server end?"},
	{"too many open files", "raise the limit of open files (ulimit -n), or use --shards"},
	{"timeout", "the handshake took longer than --timeout: is the server, or the machine, overloaded? --connecting=16 asks for fewer at a time"},
}

// hintsFor are the hints that fit what happened to connections.
func hintsFor(c fleet.Counts) []string {
	var all []string
	for _, h := range connectHints {
		for _, causes := range []map[string]uint64{c.Failures, c.Closes, c.Errors} {
			for cause := range causes {
				if strings.HasPrefix(cause, h.sign) && !slices.Contains(all, h.advice) {
					all = append(all, h.advice)
				}
			}
		}
	}
	return all
}

// hinted adds the advice to an error, a line each.
func hinted(err error, advice ...string) error {
	for _, one := range advice {
		err = fmt.Errorf("%w\nhint: %s", err, one)
	}
	return err
}

// silence says why nothing may have been delivered, though nothing failed.
func (p *Publishing) silence() string {
	switch p.Publish {
	case "redis":
		return "somebody subscribes at this Redis, but it is not the hub at --url: is there another hub, or another --redis-prefix? Plain clients follow the topic --broadcast, and a Pusher application only hears of its own events if it is not in the hub's --pusher-share"
	case "centrifugo":
		return "somebody subscribes at this Redis, but it is not the server at --url"
	case "nchan":
		return "the server at --control took the events, but not for the clients at --url: are both of one server?"
	case "http", "pusher":
		return "the hub at --control took the events, but not for the clients at --url: are both ports those of one hub, or do the hubs share a Redis and --redis-prefix?"
	}
	return "the clients' own events did not come back: does the server let clients publish?"
}

// publishHint is advice for an answer to POST /api/publish.
func publishHint(err error) error {
	var answer answerError
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &answer):
		return hinted(err, "does the hub's control port listen at --control? Its default is http://127.0.0.1:3001")
	case answer.status == 401 || answer.status == 403:
		return hinted(err, "--api-key, or HUBBENCH_API_KEY, must be the hub's own HUB_API_KEY")
	case answer.status == 404 || answer.status == 405 || answer.status == 400 || answer.status == 426:
		return hinted(err, "--control must be the control port (3001), not the public one (3000)")
	}
	return err
}

// pusherHint is advice for an answer of Pusher's HTTP API.
func pusherHint(err error) error {
	var answer answerError
	if errors.As(err, &answer) && answer.status == http.StatusUnauthorized {
		return hinted(err, "--pusher-app must be one of the hub's own, and both clocks within 10 minutes of each other")
	}
	return publishHint(err)
}

// redisHint is advice for a Redis that does not let us in.
func redisHint(err error) error {
	text := err.Error()
	switch {
	case strings.Contains(text, "refused"):
		return hinted(err, "--redis, or REDIS_URL, is the Redis of the hub; a hub without Redis is measured with --publish=http or ws")
	case strings.Contains(text, "NOAUTH"), strings.Contains(text, "WRONGPASS"):
		return hinted(err, "this Redis wants a password: --redis=redis://user:password@host:port")
	case strings.Contains(text, "NOPERM"):
		return hinted(err, "this Redis user may not PUBLISH; a hub can publish for hubbench: --publish=http")
	}
	return err
}
