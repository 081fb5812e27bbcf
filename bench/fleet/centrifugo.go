package fleet

import (
	"bytes"
	"errors"
	"net/url"
	"strconv"
	"strings"

	"wshub/bench/wire"
)

// centrifugo is Centrifugo's client protocol in JSON, centrifugoProtobuf the same in Protobuf. A client's
// position is "<offset>:<epoch>". An event tells only the offset.
type centrifugo struct{}

// names is a Protocol whose tokens name the topics that a user follows unasked.
type names interface{ names() }

func (centrifugo) names() {}

// Numbers of a client's commands. Those that publish have higher ones.
const (
	connectID   = 1
	subscribeID = 2
)

func (centrifugo) Path() string                       { return "/connection/websocket" }
func (centrifugo) Subprotocol() string                { return "" } // as the JavaScript client has it
func (centrifugo) Opcode() wire.Opcode                { return wire.Text }
func (centrifugo) Query(_, user, _ string) url.Values { return query("", user, "") }

func (p centrifugo) Open(dst []byte, e Entry) []byte {
	dst = append(dst, `{"id":1,"connect":{"name":"hubbench"`...)
	if e.Token != "" {
		dst = append(dst, `,"token":`...)
		dst = strconv.AppendQuote(dst, e.Token)
	}
	if e.Topic == "" && e.Since != "" {
		dst = append(dst, `,"subs":{`...)
		dst = strconv.AppendQuote(dst, e.Own)
		dst = append(appendSince(append(dst, `:{`...), e.Since), `}}`...)
	}
	dst = append(dst, `}}`...)
	if e.Topic == "" {
		return dst
	}
	return p.Subscribe(append(dst, '\n'), e.Topic, e.Since)
}

func (centrifugo) Subscribe(dst []byte, topic, since string) []byte {
	dst = append(dst, `{"id":2,"subscribe":{"channel":`...)
	dst = strconv.AppendQuote(dst, topic)
	dst = append(dst, `,"recoverable":true`...)
	if since != "" {
		dst = appendSince(append(dst, ','), since)
	}
	return append(dst, `}}`...)
}

// appendSince appends the members that ask for what was missed.
func appendSince(dst []byte, since string) []byte {
	offset, epoch, _ := strings.Cut(since, ":")
	dst = append(dst, `"recover":true,"offset":`...)
	dst = append(dst, offset...)
	dst = append(dst, `,"epoch":`...)
	return strconv.AppendQuote(dst, epoch)
}

func (centrifugo) Publish(dst []byte, id int, topic string, data []byte) []byte {
	dst = append(dst, `{"id":`...)
	dst = strconv.AppendInt(dst, int64(id)+subscribeID, 10)
	dst = append(dst, `,"publish":{"channel":`...)
	dst = strconv.AppendQuote(dst, topic)
	dst = append(dst, `,"data":`...)
	dst = append(dst, data...)
	return append(dst, `}}`...)
}

// Split cuts at a newline. Behind the last one something must follow: a client would fail on an empty line.
func (centrifugo) Split(frame []byte) (message, rest []byte, err error) {
	if end := bytes.IndexByte(frame, '\n'); end >= 0 {
		return frame[:end], frame[end+1:], nil
	}
	return frame, nil, nil
}

func (centrifugo) Place(last, at string) string {
	if at == "" || strings.Contains(at, ":") {
		return at
	}
	_, epoch, known := strings.Cut(last, ":")
	if !known {
		return "" // the topic can't be recovered
	}
	return at + ":" + epoch
}

func (centrifugo) Parse(dst []Message, text []byte) ([]Message, error) {
	w := walkJSON(text)
	return readReply(dst, &w, "{}")
}

// The fields that a client looks at. All others are left alone.
var (
	replyID        = field{`"id"`, 1}
	replyError     = field{`"error"`, 2}
	replyPush      = field{`"push"`, 4}
	replyConnect   = field{`"connect"`, 5}
	replySubscribe = field{`"subscribe"`, 6}
	replyPublish   = field{`"publish"`, 8}

	errorCode       = field{`"code"`, 1}
	disconnectCode  = field{`"code"`, 1}
	unsubscribeCode = field{`"code"`, 2}

	connectSubs = field{`"subs"`, 6}
	connectPong = field{`"pong"`, 8}

	pushChannel     = field{`"channel"`, 2}
	pushPub         = field{`"pub"`, 4}
	pushUnsubscribe = field{`"unsubscribe"`, 7}
	pushSubscribe   = field{`"subscribe"`, 9}
	pushDisconnect  = field{`"disconnect"`, 11}

	pubData   = field{`"data"`, 4}
	pubOffset = field{`"offset"`, 6}
	pubEpoch  = field{`"epoch"`, 14}
)

// subscription has the fields of a subscription, which an answer and a push number differently.
type subscription struct{ epoch, offset, publications, recovered field }

var (
	asked   = subscription{field{`"epoch"`, 6}, field{`"offset"`, 9}, field{`"publications"`, 7}, field{`"recovered"`, 8}}
	unasked = subscription{epoch: field{`"epoch"`, 4}, offset: field{`"offset"`, 5}}
)

var (
	errNoReply = errors.New("neither a reply nor a push")
	errChannel = errors.New("push or subscription without a channel")
	errNoData  = errors.New("publication without data")
	errOffset  = errors.New("offset over 2^53, which JavaScript can't hold")
)

// readReply appends what a reply says. An empty one is a ping, to be answered with pong.
func readReply(dst []Message, w *walk, pong string) ([]Message, error) {
	id, empty, pushed := uint64(0), true, false
	for w.next() {
		empty = false
		switch {
		case w.is(replyID):
			id = w.uint()
		case w.is(replyError):
			dst = append(dst, Message{Kind: Failure, Code: readCode(w, errorCode)})
		case w.is(replyPush):
			pushed = true
			dst = readPush(dst, w)
		case w.is(replyConnect):
			dst = readConnect(dst, w)
		case w.is(replySubscribe):
			dst = readSubscription(dst, w, "", &asked)
		case w.is(replyPublish):
			dst = append(dst, Message{Kind: Ack})
		}
	}
	switch {
	case w.err != nil:
		return dst, w.err
	case empty:
		return append(dst, Message{Kind: Ping, Data: []byte(pong)}), nil
	case id == 0 && !pushed:
		return dst, errNoReply
	}
	return dst, nil
}

func readConnect(dst []Message, w *walk) []Message {
	at := len(dst)
	dst = append(dst, Message{Kind: Connected})
	in := w.inner()
	for in.next() {
		switch {
		case in.is(connectPong):
			dst[at].Pong = in.yes()
		case in.is(connectSubs):
			in.entries(func(channel string, sub *walk) {
				if channel == "" {
					sub.failed(errChannel)
				}
				dst = readSubscription(dst, sub, channel, &asked)
			})
		}
	}
	w.failed(in.err)
	return dst
}

// readSubscription appends that topic is followed, and the missed events that come with that.
func readSubscription(dst []Message, w *walk, topic string, s *subscription) []Message {
	at, offset, epoch := len(dst), "0", ""
	dst = append(dst, Message{Kind: Subscribed, Topic: topic})
	in := w.inner()
	for in.next() {
		switch {
		case in.is(s.epoch):
			epoch = in.text()
		case in.is(s.offset):
			offset = readOffset(&in)
		case in.is(s.recovered):
			dst[at].Recovered = in.yes()
		case in.is(s.publications):
			in.elements(func(pub *walk) { dst = readPublication(dst, pub, topic) })
		}
	}
	w.failed(in.err)
	if epoch != "" {
		dst[at].Position = offset + ":" + epoch
	}
	return dst
}

func readPush(dst []Message, w *walk) []Message {
	from, channel := len(dst), ""
	in := w.inner()
	for in.next() {
		switch {
		case in.is(pushChannel):
			channel = in.text()
		case in.is(pushPub):
			dst = readPublication(dst, &in, "")
		case in.is(pushSubscribe):
			dst = readSubscription(dst, &in, "", &unasked)
		case in.is(pushUnsubscribe):
			dst = append(dst, unsubscribed(readCode(&in, unsubscribeCode)))
		case in.is(pushDisconnect):
			dst = append(dst, Message{Kind: Disconnected, Code: readCode(&in, disconnectCode)})
		}
	}
	w.failed(in.err)
	for i := range dst[from:] {
		m := &dst[from+i]
		if m.Topic = channel; channel == "" && m.Kind != Disconnected {
			w.failed(errChannel)
		}
	}
	return dst
}

// unsubscribed is what a client makes of the code: from 2500 on it subscribes again.
func unsubscribed(code string) Message {
	if len(code) == 4 && code >= "2500" && code <= "2999" {
		return Message{Kind: Unsubscribed}
	}
	return Message{Kind: Failure, Code: "unsubscribed " + code}
}

func readPublication(dst []Message, w *walk, topic string) []Message {
	m, epoch := Message{Kind: Event, Topic: topic}, ""
	in := w.inner()
	for in.next() {
		switch {
		case in.is(pubData):
			m.Data = in.value
		case in.is(pubOffset):
			m.Position = readOffset(&in)
		case in.is(pubEpoch):
			epoch = in.text()
		}
	}
	if len(m.Data) == 0 {
		in.failed(errNoData)
	}
	w.failed(in.err)
	if epoch != "" && m.Position != "" {
		m.Position += ":" + epoch
	}
	return append(dst, m)
}

func readOffset(w *walk) string {
	n := w.uint()
	if !w.protobuf && n >= 1<<53 {
		w.failed(errOffset)
	}
	return strconv.FormatUint(n, 10)
}

func readCode(w *walk, code field) string {
	n := uint64(0)
	in := w.inner()
	for in.next() {
		if in.is(code) {
			n = in.uint()
		}
	}
	w.failed(in.err)
	return strconv.FormatUint(n, 10)
}
