package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/rs/zerolog"
	"golang.org/x/sync/semaphore"

	"wshub/pubsub"
	"wshub/session"
)

// centrifugoAPI is Centrifugo's server API, under /centrifugo/api, as its backend libraries speak it: a request to a path
// for each method, and the older form, requests to one path that name their methods. A channel is a topic. All answers
// have status 200 and tell of errors inside, but 400 for a body that is no JSON, 401 and 403 for who may not ask, 413 and
// 503: the libraries take other statuses for faults of the transport.
type centrifugoAPI struct {
	hub     backendHub
	guard   guard
	log     zerolog.Logger
	publish publishAPI // for its bounds and its room for bodies
	node    string
	born    time.Time
	// reading bounds the bytes of histories that are read for answers at one time, counting one at a time for channels
	// and info.
	reading, surveying *semaphore.Weighted
	pageBytes          int // of one history
	limit              int // events of one history
}

const (
	// centrifugoTime bounds one request, of however many commands.
	centrifugoTime = 10 * time.Second
	// centrifugoCommands bounds the commands of one request, and the channels of one broadcast.
	centrifugoCommands = batchEvents
	// historyBytes bounds the events of one history, unless one event may have more.
	historyBytes = 4 << 20
	// answerBytes of an answer are enough: commands behind that which read are refused.
	answerBytes = historyBytes
	// mostChannels bounds the answer to channels.
	mostChannels = 10_000
)

func newCentrifugoAPI(c *config, log zerolog.Logger, g guard, hub backendHub, publish publishAPI) *centrifugoAPI {
	page := max(historyBytes, int(c.MaxMessage))
	return &centrifugoAPI{
		hub: hub, guard: g, log: log, publish: publish, node: c.Node, born: time.Now(),
		reading: semaphore.NewWeighted(max(publish.room, int64(page))), surveying: semaphore.NewWeighted(1),
		pageBytes: page, limit: c.ReplayLimit,
	}
}

func (a *centrifugoAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if refusal := a.refusal(r); refusal != nil {
		a.log.Warn().Str("peer", r.RemoteAddr).Str("path", r.URL.Path).Int("status", refusal.status).Msg("control request refused")
		w.WriteHeader(refusal.status)
		return
	}
	size, leave, refusal := a.publish.enter(r)
	if refusal != nil {
		w.WriteHeader(refusal.status)
		return
	}
	defer leave()
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, size))
	switch {
	case errors.As(err, new(*http.MaxBytesError)):
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		return
	case err != nil || !utf8.Valid(body):
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), centrifugoTime)
	defer cancel()
	var answer []byte
	switch method := strings.TrimSuffix(r.PathValue("method"), "/"); method {
	case "":
		answer = a.legacy(ctx, body)
	case "batch":
		answer = a.batch(ctx, body)
	default:
		if blank(body) || json.Valid(body) {
			answer = encode(a.do(ctx, method, body, 0))
		}
	}
	if answer == nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(answer) // the caller may be gone
}

// refusal is nil for a request that may pass. Without a key a form of a web page must not.
func (a *centrifugoAPI) refusal(r *http.Request) *apiError {
	if refusal := a.guard.judge(r, centrifugoKey(r)); refusal != nil || a.guard.keys.any() {
		return refusal
	}
	return wantJSON(r)
}

// centrifugoKey is the key that comes with r, in one of the ways of Centrifugo's libraries.
func centrifugoKey(r *http.Request) string {
	if scheme, key, _ := strings.Cut(r.Header.Get("Authorization"), " "); strings.EqualFold(scheme, "apikey") {
		return strings.TrimSpace(key)
	}
	if key := r.Header.Get("X-API-Key"); key != "" {
		return key
	}
	return r.URL.Query().Get("api_key")
}

func blank(body []byte) bool { return len(bytes.TrimSpace(body)) == 0 }

// reply is what a command is answered.
type reply struct {
	Error  *replyError `json:"error,omitempty"`
	Result any         `json:"result,omitempty"`
}

type replyError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

// Error implements error.
func (e *replyError) Error() string { return e.Message }

var (
	errMethodNotFound = &replyError{104, "method not found"}
	errNotAvailable   = &replyError{108, "not available"}
	errUnrecoverable  = &replyError{112, "unrecoverable position"}
	errLongAnswer     = badCommand("the answer is too long: read less in one request")
)

func badCommand(format string, args ...any) *replyError {
	return &replyError{107, "bad request: " + fmt.Sprintf(format, args...)}
}

// longAnswers are the methods whose results may be long.
var longAnswers = map[string]bool{"history": true, "channels": true, "presence": true}

// do does one command, behind others whose answers have so many bytes. params is a JSON object, or empty.
func (a *centrifugoAPI) do(ctx context.Context, method string, params []byte, answered int) reply {
	command, ok := centrifugoMethods[method]
	switch {
	case !ok:
		return reply{Error: errMethodNotFound}
	case answered >= answerBytes && longAnswers[method]:
		return reply{Error: errLongAnswer}
	}
	if blank(params) || isEmptyList(params) { // PHP's empty array is an object or a list
		params = []byte("{}")
	}
	result, err := command(a, ctx, params)
	if err == nil {
		return reply{Result: result}
	}
	told := toReplyError(err)
	a.log.Debug().Err(err).Str("method", method).Int("code", told.Code).Msg("a command is refused")
	return reply{Error: told}
}

// toReplyError is the caller's error for err.
func toReplyError(err error) *replyError {
	var told *replyError
	switch {
	case errors.As(err, &told):
		return told
	case errors.Is(err, session.ErrBadPublication), errors.Is(err, session.ErrBadTarget), errors.Is(err, pubsub.ErrBadEvent):
		return badCommand("%v", err)
	case errors.Is(err, pubsub.ErrUnavailable):
		return &replyError{100, "internal server error: the broker can't be reached now; nothing was done"}
	case errors.Is(err, pubsub.ErrUnknownOutcome):
		return &replyError{100, "internal server error: the broker's answer got lost; it may or may not have been done"}
	case errors.Is(err, pubsub.ErrRefused):
		return &replyError{100, "internal server error: the broker refused it"}
	}
	return &replyError{100, "internal server error"}
}

// batch does the commands of a batch, in their order also where that is not asked for. nil: the body is none.
func (a *centrifugoAPI) batch(ctx context.Context, body []byte) []byte {
	var in struct {
		Commands []map[string]json.RawMessage `json:"commands"`
	}
	if json.Unmarshal(body, &in) != nil {
		return nil
	}
	if len(in.Commands) > centrifugoCommands {
		return encode(reply{Error: badCommand("want up to %d commands", centrifugoCommands)})
	}
	out := []byte(`{"replies":[`)
	for i, command := range in.Commands {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, encode(a.doNamed(ctx, command, len(out)))...)
	}
	return append(out, "]}"...)
}

// doNamed does a command {"publish":{…}} and answers {"publish":{…}} or {"error":{…}}.
func (a *centrifugoAPI) doNamed(ctx context.Context, command map[string]json.RawMessage, answered int) map[string]any {
	method := ""
	for name, params := range command {
		if _, ok := centrifugoMethods[name]; !ok || isNull(params) {
			continue
		}
		if method != "" {
			return map[string]any{"error": badCommand("a command must name one method")}
		}
		method = name
	}
	switch r := a.do(ctx, method, command[method], answered); {
	case r.Error != nil:
		return map[string]any{"error": r.Error}
	default:
		return map[string]any{method: r.Result}
	}
}

// legacyMethods are the numbers of methods in the older form.
var legacyMethods = [...]string{
	"publish", "broadcast", "unsubscribe", "disconnect", "presence", "presence_stats", "history", "history_remove", "channels",
	"info", "rpc", "subscribe", "refresh",
}

// legacy does commands {"method":…,"params":{…}} that stand behind each other, and answers each by a line. nil: the body
// holds anything else.
func (a *centrifugoAPI) legacy(ctx context.Context, body []byte) []byte {
	type command struct {
		ID     uint32          `json:"id"`
		Method json.RawMessage `json:"method"`
		Params json.RawMessage `json:"params"`
	}
	var commands []command
	for d := json.NewDecoder(bytes.NewReader(body)); ; {
		var c command
		if err := d.Decode(&c); err == io.EOF {
			break
		} else if err != nil || len(commands) == centrifugoCommands {
			return nil
		}
		commands = append(commands, c)
	}
	if len(commands) == 0 {
		return nil
	}
	var out bytes.Buffer
	for i, c := range commands {
		if i > 0 {
			out.WriteByte('\n')
		}
		line := struct {
			ID uint32 `json:"id,omitempty"`
			reply
		}{c.ID, a.do(ctx, legacyMethod(c.Method), c.Params, out.Len())}
		out.Write(encode(line))
	}
	return out.Bytes()
}

// legacyMethod is the method's name, as it stands or by its number; without any it is the first.
func legacyMethod(text json.RawMessage) string {
	var name string
	number := 0
	switch {
	case text == nil:
		return legacyMethods[0]
	case json.Unmarshal(text, &name) == nil:
		return strings.ToLower(name)
	case json.Unmarshal(text, &number) == nil && number >= 0 && number < len(legacyMethods):
		return legacyMethods[number]
	}
	return ""
}

// encode makes JSON of v on one line.
func encode(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return []byte(`{"error":{"code":100,"message":"internal server error"}}`)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
