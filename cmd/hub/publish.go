package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"reflect"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/sync/semaphore"

	"wshub/pubsub"
	"wshub/session"
)

const (
	// publishHead is what a publish request may be longer than its data: the longest topic, a key, a name and tags, each
	// byte escaped as \u0041, and the JSON around them.
	publishHead = 12 << 10
	// batchEvents bounds the events of one request, batchBytes what it may be longer for having several.
	batchEvents, batchBytes = 1000, 1 << 20
	// brokerTime bounds one request at the broker, and the time that it waits for room before.
	brokerTime = 5 * time.Second
	// countTime bounds how long an answer waits, once the broker has answered, for loops to say how many follow.
	countTime = 100 * time.Millisecond
	// publishRoom bounds the bodies of all batches that are held at one time, and as much those of single events, and
	// publishShare does where there is little memory: a body costs up to three times its bytes. One always has room.
	publishRoom, publishShare = 16 << 20, 16
)

// publishAPI is POST /api/publish. One event in, {"topic","data"} and if wanted "key", "name", "except" and "tags",
// gives one answer, {"position","followers_here"}; a topic without history has no position, and how many follow on this hub
// is left out where its loops do not say so in time. An array of events is published in its order and gives an array of
// answers; one that is not valid refuses them all. The status is that of the first event that failed.
type publishAPI struct {
	publish    func(context.Context, []pubsub.Publication) ([]pubsub.Result, error)
	followers  func(topics []string) (await func(context.Context) ([]int, bool))
	maxMessage int
	// Bytes of the requests that are read or published: single events do not wait behind batches.
	singles, batches *semaphore.Weighted
	room             int64 // of each
}

func newPublishAPI(c *config, publish func(context.Context, []pubsub.Publication) ([]pubsub.Result, error)) publishAPI {
	a := publishAPI{publish: publish, followers: uncounted, maxMessage: int(c.MaxMessage)}
	room := int64(publishRoom)
	if c.room.limit > 0 {
		room = min(room, int64(c.room.limit)/publishShare)
	}
	room = max(room, int64(a.maxBody()))
	a.room = room
	a.singles, a.batches = semaphore.NewWeighted(room), semaphore.NewWeighted(room)
	return a
}

// uncounted counts nobody.
func uncounted([]string) func(context.Context) ([]int, bool) {
	return func(context.Context) ([]int, bool) { return nil, false }
}

func (a publishAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if refusal := wantJSON(r); refusal != nil {
		refusal.write(w)
		return
	}
	size, leave, refusal := a.enter(r)
	if refusal != nil {
		refusal.write(w)
		return
	}
	defer leave()
	batch, several, refusal := a.readEvents(w, r)
	if refusal != nil {
		_, _ = io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, size)) // a caller that still sends would not read the answer
		refusal.write(w)
		return
	}
	a.publishAll(w, r, batch, several)
}

// enter waits for room for r's body, of size bytes at most. leave gives it back.
func (a publishAPI) enter(r *http.Request) (size int64, leave func(), refusal *apiError) {
	size, room := int64(a.maxBody()), a.batches
	if r.ContentLength >= 0 {
		size = min(size, r.ContentLength)
	}
	if size <= int64(a.maxMessage+publishHead) {
		room = a.singles
	}
	if !enter(r.Context(), room, size) {
		return 0, nil, &apiError{http.StatusServiceUnavailable, session.Busy, "too many large requests at once; nothing was done"}
	}
	return size, func() { room.Release(size) }, nil
}

// publishAll publishes batch and answers.
func (a publishAPI) publishAll(w http.ResponseWriter, r *http.Request, batch []pubsub.Publication, several bool) {
	ctx, cancel := context.WithTimeout(r.Context(), brokerTime)
	defer cancel()
	topics := make([]string, len(batch))
	for i, p := range batch {
		topics[i] = p.Topic
	}
	await := a.followers(topics) // the loops count while the broker works
	results, err := a.publish(ctx, batch)
	if err != nil {
		refusal := brokerError(err)
		if several {
			refusal.message += "; nothing was published"
		}
		refusal.write(w)
		return
	}
	ctx, cancel = context.WithTimeout(r.Context(), countTime)
	defer cancel()
	followers, counted := await(ctx)
	status, answers := http.StatusOK, make([]answer, len(results))
	for i, res := range results {
		if res.Err != nil {
			failed := brokerError(res.Err)
			answers[i].Error = failed.detail()
			if status == http.StatusOK {
				status = failed.status
			}
			continue
		}
		if !res.Position.IsZero() {
			answers[i].Position = res.Position.String()
		}
		if counted {
			answers[i].Followers = &followers[i]
		}
	}
	if several {
		respond(w, status, answers)
	} else {
		respond(w, status, answers[0])
	}
}

// answer is the API's answer for one event, or for a whole request that failed.
type answer struct {
	Position  string       `json:"position,omitempty"`
	Followers *int         `json:"followers_here,omitempty"` // nil: not known
	Error     *errorDetail `json:"error,omitempty"`
}

// enter waits for room for a body of so many bytes. False: there was none in time.
func enter(ctx context.Context, room *semaphore.Weighted, size int64) bool {
	ctx, cancel := context.WithTimeout(ctx, brokerTime)
	defer cancel()
	return room.Acquire(ctx, size) == nil
}

// maxBody bounds the body of a request in bytes.
func (a publishAPI) maxBody() int { return a.maxMessage + publishHead + batchBytes }

func (a publishAPI) validate(ev published) *apiError {
	switch {
	case !pubsub.ValidTopic(ev.Topic):
		return badTopic()
	case ev.Data == nil:
		return badRequest(session.BadRequest, "data is missing")
	case len(ev.Data) > a.maxMessage:
		return tooLarge("data", a.maxMessage)
	}
	if err := ev.Attributes.Validate(); err != nil {
		return badRequest(session.BadRequest, err.Error())
	}
	return nil
}

func wantJSON(r *http.Request) *apiError {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return &apiError{http.StatusUnsupportedMediaType, "unsupported_media_type", "Content-Type must be application/json"}
	}
	return nil
}

// readBody reads r's body, JSON of up to limit bytes.
func readBody(w http.ResponseWriter, r *http.Request, limit int) ([]byte, *apiError) {
	if refusal := wantJSON(r); refusal != nil {
		return nil, refusal
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(limit)))
	switch {
	case errors.As(err, new(*http.MaxBytesError)):
		return nil, tooLarge("the body", limit)
	case err != nil:
		return nil, badRequest(session.BadRequest, "the body did not come whole")
	}
	return body, nil
}

// decode reads body into v; want is an example of a valid body.
func decode(body []byte, v any, want string) *apiError {
	if err := decodeStrict(body, v); err != nil {
		return badJSON(err, want)
	}
	return nil
}

// badJSON says why a body is none, or not of the form that want shows.
func badJSON(err error, want string) *apiError {
	reason := err.Error()
	if wrong := new(json.UnmarshalTypeError); errors.As(err, &wrong) { // it would name a Go type
		reason = fmt.Sprintf("not a %s at byte %d", wrong.Value, wrong.Offset)
		if wrong.Field != "" {
			reason = fmt.Sprintf("%s: want %s, not a %s", wrong.Field, inWords(wrong.Type.Kind()), wrong.Value)
		}
	}
	reason = strings.TrimPrefix(reason, "json: ")
	return badRequest(session.BadJSON, "want "+want+": "+reason)
}

// inWords says what JSON a Go type is read from.
func inWords(kind reflect.Kind) string {
	switch kind {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice:
		return "a list"
	case reflect.Map, reflect.Struct:
		return "an object"
	}
	return "a number"
}

// decodeStrict reads one JSON value in UTF-8 into v, and lets no unknown member pass.
func decodeStrict(body []byte, v any) error {
	if !utf8.Valid(body) {
		return errors.New("not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("something stands behind the JSON value")
	}
	return nil
}

func tooLarge(what string, limit int) *apiError {
	return &apiError{http.StatusRequestEntityTooLarge, session.TooLarge, fmt.Sprintf("too large: %s may have %d bytes", what, limit)}
}

func badTopic() *apiError {
	return badRequest(session.BadTopic, fmt.Sprintf("topic must have 1 to %d bytes and no control characters", pubsub.MaxTopic))
}

func badRequest(code session.Code, message string) *apiError {
	return &apiError{http.StatusBadRequest, code, message}
}

// brokerError is the caller's answer for err.
func brokerError(err error) *apiError {
	switch {
	case errors.Is(err, pubsub.ErrUnavailable):
		return &apiError{http.StatusServiceUnavailable, session.Unavailable, "the broker can't be reached now; nothing was done"}
	case errors.Is(err, pubsub.ErrUnknownOutcome):
		return &apiError{http.StatusGatewayTimeout, session.UnknownOutcome, "the broker's answer got lost; it may or may not have been done"}
	case errors.Is(err, pubsub.ErrRefused):
		return &apiError{http.StatusBadGateway, session.Refused, "the broker refused it; nothing was done"}
	case errors.Is(err, session.ErrBadPublication), errors.Is(err, session.ErrBadTarget), errors.Is(err, pubsub.ErrBadEvent):
		return badRequest(session.BadRequest, err.Error())
	}
	return &apiError{http.StatusInternalServerError, session.Internal, "internal error"}
}

// apiError is an answer of the API other than success.
type apiError struct {
	status  int
	code    session.Code
	message string
}

// errorDetail is an error as the API tells it.
type errorDetail struct {
	Code    session.Code `json:"code"`
	Message string       `json:"message"`
	Retry   bool         `json:"retry"`
}

func (e *apiError) detail() *errorDetail { return &errorDetail{e.code, e.message, e.code.Retry()} }

func (e *apiError) write(w http.ResponseWriter) { respond(w, e.status, answer{Error: e.detail()}) }

// respond writes v with what the API says beside each status.
func respond(w http.ResponseWriter, status int, v any) {
	switch status {
	case http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", "1")
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	writeJSON(w, status, v)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the caller may be gone
}
