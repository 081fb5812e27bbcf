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
	"strings"
	"time"
	"unicode/utf8"

	"wshub/pubsub"
	"wshub/session"
)

const (
	// publishHead is what a publish request may be longer than its data: the longest topic and a key, each
	// byte escaped as \u0041, and the JSON around them.
	publishHead = 4 << 10
	// brokerTime bounds one request at the broker.
	brokerTime = 5 * time.Second
)

// publishAPI is POST /api/publish: {"topic","data","key"?} in, {"position"} out, which a topic without
// history does not have.
type publishAPI struct {
	publish    func(context.Context, pubsub.Publication) pubsub.Result
	maxMessage int
}

func (a publishAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p, refusal := a.read(w, r)
	if refusal != nil {
		refusal.write(w)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), brokerTime)
	defer cancel()
	res := a.publish(ctx, p)
	if res.Err != nil {
		brokerError(res.Err).write(w)
		return
	}
	var answer struct {
		Position string `json:"position,omitempty"`
	}
	if !res.Position.IsZero() {
		answer.Position = res.Position.String()
	}
	writeJSON(w, http.StatusOK, answer)
}

// read takes a Publication from r.
func (a publishAPI) read(w http.ResponseWriter, r *http.Request) (p pubsub.Publication, refusal *apiError) {
	var in struct {
		Topic string          `json:"topic"`
		Data  json.RawMessage `json:"data"`
		Key   string          `json:"key"`
	}
	if refusal := readJSON(w, r, a.maxMessage+publishHead, &in, `{"topic":…,"data":…,"key":…}`); refusal != nil {
		return p, refusal
	}
	switch {
	case !pubsub.ValidTopic(in.Topic) || strings.HasPrefix(in.Topic, "$"):
		return p, badRequest(session.BadTopic, fmt.Sprintf("topic must have 1 to %d bytes, no control characters, and not begin with $", pubsub.MaxTopic))
	case in.Data == nil:
		return p, badRequest(session.BadRequest, "data is missing")
	case len(in.Data) > a.maxMessage:
		return p, tooLarge("data", a.maxMessage)
	}
	return pubsub.Publication{Topic: in.Topic, Data: in.Data, Key: in.Key, Caller: "api"}, nil
}

// readJSON reads r's body, of up to limit bytes, into v; want shows what it should look like.
func readJSON(w http.ResponseWriter, r *http.Request, limit int, v any, want string) *apiError {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return &apiError{http.StatusUnsupportedMediaType, "unsupported_media_type", "Content-Type must be application/json"}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(limit)))
	switch {
	case errors.As(err, new(*http.MaxBytesError)):
		return tooLarge("the body", limit)
	case err != nil:
		return badRequest(session.BadRequest, "the body did not come whole")
	}
	if err := decodeStrict(body, v); err != nil {
		return badRequest(session.BadJSON, "want "+want+": "+err.Error())
	}
	return nil
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

func badRequest(code session.Code, message string) *apiError {
	return &apiError{http.StatusBadRequest, code, message}
}

// brokerError is what the caller is told of err.
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

func (e *apiError) write(w http.ResponseWriter) {
	type detail struct {
		Code    session.Code `json:"code"`
		Message string       `json:"message"`
		Retry   bool         `json:"retry"`
	}
	switch e.status {
	case http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", "1")
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	writeJSON(w, e.status, map[string]detail{"error": {e.code, e.message, e.code.Retry()}})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the caller may be gone
}
