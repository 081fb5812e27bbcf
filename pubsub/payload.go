package pubsub

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// DefaultMaxMessage bounds an event's data unless configured otherwise: 64 KiB, the engine's own
// default for a client's message.
const DefaultMaxMessage = 64 << 10

// ErrBadEvent: a publication is no event, because its topic is no valid name, its data is not one
// JSON value in UTF-8 of at most MaxMessage bytes, or its attributes are out of bounds. Do not retry.
var ErrBadEvent = errors.New("bad event")

// fault names what keeps data from being embedded in a text frame. ok is true if nothing does.
func fault(data []byte, limit int) (why Drop, ok bool) {
	switch {
	case len(data) > limit:
		return TooBig, false
	case !utf8.Valid(data):
		return BadUTF8, false
	case !json.Valid(data):
		return BadJSON, false
	}
	return 0, true
}

// validatePublication returns nil or an ErrBadEvent.
func validatePublication(p *Publication, limit int) error {
	if !ValidTopic(p.Topic) {
		return fmt.Errorf("%w: topic %q", ErrBadEvent, clip(p.Topic))
	}
	if why, ok := fault(p.Data, limit); !ok {
		return fmt.Errorf("%w: %s", ErrBadEvent, why)
	}
	return p.Attributes.Validate()
}

// addressHead is what an addressed message may be longer than its data: the longest name, each byte
// escaped as \u0041, and the JSON around it.
const addressHead = 6*MaxTopic + 256

// parseAddressed reads {"to":{"user":"42"},"data":…} or {"to":{"topic":"news"},"data":…}: exactly one
// of user and topic, and nothing else. data is verbatim, and without a fault. Anything other than that, names that are no
// topic are a BadAddress.
func parseAddressed(message []byte, limit int) (topic string, data []byte, why Drop, ok bool) {
	if topic, data, ok = parseUsual(message, limit); ok {
		return topic, data, 0, true
	}
	return parseUnusual(message, limit)
}

// parseUsual reads an addressed message as most programs write it: with the address first, and its name without
// escapes. It refuses others, good ones too.
func parseUsual(message []byte, limit int) (topic string, data []byte, ok bool) {
	rest, isUser := bytes.CutPrefix(message, []byte(`{"to":{"user":"`))
	if !isUser {
		if rest, ok = bytes.CutPrefix(message, []byte(`{"to":{"topic":"`)); !ok {
			return "", nil, false
		}
	}
	name, rest, _ := bytes.Cut(rest, []byte(`"},"data":`))
	data, ok = bytes.CutSuffix(rest, []byte("}"))
	if !ok || len(name) == 0 || len(name) > MaxTopic || bytes.ContainsAny(name, `"\`) {
		return "", nil, false
	}
	if topic = string(name); isUser {
		topic = UserTopic(topic)
	}
	data = bytes.Trim(data, " \t\r\n")
	if _, ok = fault(data, limit); !ok { // it is one value, so nothing stands between it and the brace
		return "", nil, false
	}
	return topic, data, ValidTopic(topic)
}

// parseUnusual reads any addressed message, at five times the cost.
func parseUnusual(message []byte, limit int) (topic string, data []byte, why Drop, ok bool) {
	if why, ok = fault(message, limit+addressHead); !ok {
		return "", nil, why, false
	}
	var m struct {
		To struct {
			User  *string `json:"user"`
			Topic *string `json:"topic"`
		} `json:"to"`
		Data json.RawMessage `json:"data"`
	}
	strict := json.NewDecoder(bytes.NewReader(message))
	strict.DisallowUnknownFields()
	if strict.Decode(&m) != nil || m.Data == nil {
		return "", nil, BadAddress, false
	}
	switch to := m.To; {
	case to.User != nil && to.Topic == nil && *to.User != "":
		topic = UserTopic(*to.User)
	case to.Topic != nil && to.User == nil:
		topic = *to.Topic
	}
	if !ValidTopic(topic) {
		return "", nil, BadAddress, false
	}
	if len(m.Data) > limit {
		return "", nil, TooBig, false
	}
	return topic, m.Data, 0, true
}
