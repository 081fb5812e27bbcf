package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"unicode/utf8"

	"wshub/pubsub"
	"wshub/session"
)

// published is one event as a request names it.
type published struct {
	Topic string
	Data  json.RawMessage
	Key   string

	pubsub.Attributes
}

// wantEvents is an example of a valid request to publish.
const wantEvents = `{"topic":…,"data":…,"key":…,"name":…,"except":…,"tags":{…}} or an array of these`

// readEvents takes the events from r's body, one object or an array of them, as the body comes: it stops at the first
// that is wrong or one too many, and never holds more than the events themselves. several tells that they came as an array.
func (a publishAPI) readEvents(w http.ResponseWriter, r *http.Request) (batch []pubsub.Publication, several bool, refusal *apiError) {
	body := &body{from: http.MaxBytesReader(w, r.Body, int64(a.maxBody()))}
	d := json.NewDecoder(body)
	token, err := d.Token()
	if several = token == json.Delim('['); !several {
		ev, refusal := a.readEvent(d, token, err, body)
		if refusal == nil {
			refusal = a.atEnd(d, body)
		}
		return []pubsub.Publication{ev}, false, refusal
	}
	for d.More() {
		if len(batch) == batchEvents {
			return nil, true, badRequest(session.BadRequest, fmt.Sprintf("want 1 to %d events, and there are more; nothing was published", batchEvents))
		}
		token, err := d.Token()
		ev, refusal := a.readEvent(d, token, err, body)
		if refusal != nil {
			refusal.message = fmt.Sprintf("event %d: %s; nothing was published", len(batch)+1, refusal.message)
			return nil, true, refusal
		}
		batch = append(batch, ev)
	}
	if _, err := d.Token(); err != nil {
		return nil, true, a.bodyError(err, body)
	}
	if len(batch) == 0 {
		return nil, true, badRequest(session.BadRequest, fmt.Sprintf("want 1 to %d events, not 0", batchEvents))
	}
	return batch, true, a.atEnd(d, body)
}

// readEvent reads one event. token, or err, is what came of its first token.
func (a publishAPI) readEvent(d *json.Decoder, token json.Token, err error, body *body) (pubsub.Publication, *apiError) {
	var ev published
	if err == nil {
		ev, err = readMembers(d, token)
	}
	if err != nil {
		return pubsub.Publication{}, a.bodyError(err, body)
	}
	p := pubsub.Publication{Topic: ev.Topic, Data: ev.Data, Key: ev.Key, Caller: "api"}
	if ev.Name != "" || ev.Except != "" || len(ev.Tags) > 0 {
		attributes := ev.Attributes
		p.Attributes = &attributes
	}
	return p, a.validate(ev)
}

// readMembers reads an object that begins with token. Names are exact, and none may come twice; null has none.
func readMembers(d *json.Decoder, token json.Token) (ev published, err error) {
	switch token {
	case nil:
		return ev, nil
	case json.Delim('{'):
	default:
		return ev, errors.New("an event must be an object")
	}
	seen := make(map[string]bool, 6)
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return ev, err
		}
		name, _ := token.(string)
		if seen[name] {
			return ev, fmt.Errorf("%.20q comes twice", name)
		}
		seen[name] = true
		switch name {
		case "topic":
			err = d.Decode(&ev.Topic)
		case "data":
			err = d.Decode(&ev.Data)
		case "key":
			err = d.Decode(&ev.Key)
		case "name":
			err = d.Decode(&ev.Name)
		case "except":
			err = d.Decode(&ev.Except)
		case "tags":
			ev.Tags, err = readTags(d)
		default:
			err = fmt.Errorf("unknown member %.20q", name)
		}
		if wrong := new(json.UnmarshalTypeError); errors.As(err, &wrong) {
			wrong.Field = name
		}
		if err != nil {
			return ev, err
		}
	}
	_, err = d.Token()
	return ev, err
}

// readTags reads an object of texts, or null. It stops at the first that is one too many.
func readTags(d *json.Decoder) (map[string]string, error) {
	token, err := d.Token()
	switch {
	case err != nil || token == nil:
		return nil, err
	case token != json.Delim('{'):
		return nil, errors.New("tags must be an object")
	}
	tags := make(map[string]string)
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return nil, err
		}
		if len(tags) == pubsub.MaxTags {
			return nil, fmt.Errorf("more than %d tags", pubsub.MaxTags)
		}
		var value string
		if err := d.Decode(&value); err != nil {
			return nil, err
		}
		name, _ := token.(string)
		tags[name] = value
	}
	_, err = d.Token()
	return tags, err
}

// atEnd refuses what stands behind the JSON value.
func (a publishAPI) atEnd(d *json.Decoder, body *body) *apiError {
	switch _, err := d.Token(); {
	case err == io.EOF:
		return nil
	case body.err != nil:
		return a.bodyError(body.err, body)
	}
	return badRequest(session.BadJSON, "want "+wantEvents+": something stands behind the JSON value")
}

// bodyError is what the caller is told of err, which came of reading body.
func (a publishAPI) bodyError(err error, body *body) *apiError {
	switch {
	case errors.As(body.err, new(*http.MaxBytesError)):
		return tooLarge("the body", a.maxBody())
	case errors.Is(body.err, errNotUTF8):
		err = errNotUTF8
	case body.err != nil:
		return badRequest(session.BadRequest, "the body did not come whole")
	case errors.Is(err, io.EOF):
		err = io.ErrUnexpectedEOF
	}
	return badJSON(err, wantEvents)
}

var errNotUTF8 = errors.New("not UTF-8")

// body is a request's body, which must be UTF-8.
type body struct {
	from io.Reader
	part []byte // of a character, at the end of what was read
	err  error  // why reading ended, if not at the end
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	n, err := b.from.Read(p)
	if !b.fits(p[:n]) || err == io.EOF && len(b.part) > 0 {
		n, err = 0, errNotUTF8
	}
	if err != nil && err != io.EOF {
		b.err = err
	}
	return n, err
}

// fits reports whether what was read is still UTF-8 with text behind it.
func (b *body) fits(text []byte) bool {
	for len(b.part) > 0 && len(text) > 0 && !utf8.FullRune(b.part) {
		b.part, text = append(b.part, text[0]), text[1:]
	}
	if len(b.part) > 0 && utf8.FullRune(b.part) {
		if !utf8.Valid(b.part) {
			return false
		}
		b.part = b.part[:0]
	}
	whole := len(text)
	for back := 1; back < utf8.UTFMax && back <= len(text); back++ {
		if last := text[len(text)-back:]; utf8.RuneStart(last[0]) {
			if !utf8.FullRune(last) {
				whole -= back
			}
			break
		}
	}
	b.part = append(b.part, text[whole:]...)
	return utf8.Valid(text[:whole])
}
