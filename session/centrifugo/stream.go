package centrifugo

import (
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	pb "github.com/centrifugal/protocol"

	"wshub/engine"
	"wshub/session"
)

// Where centrifuge-js looks for the protocol without WebSocket.
const (
	SSEPath        = "/connection/sse"
	HTTPStreamPath = "/connection/http_stream"
)

// stream is the protocol by which replies come as a stream, in JSON, and commands by requests to EmulationPath. The first
// command, connect, comes with the request that opens the stream.
type stream struct {
	Protocol
	name     string
	media    []string // one for all handshakes
	encoding *encoding
}

var (
	eventStream = []string{engine.EventStream}
	jsonStream  = []string{engine.JSONStream}
)

// Name implements session.Protocol.
func (p stream) Name() string { return p.name }

// Subprotocols implements session.Protocol.
func (p stream) Subprotocols() []string { return p.media }

// Judge implements session.Protocol. The client is let in, as it is over WebSocket, and hears of its connect command on the
// stream: centrifuge-js takes any status but 200 for a network that lets no streams through.
func (p stream) Judge(a *session.Admission, r *engine.Request, query url.Values) *engine.Refusal {
	connect := a.Body
	switch {
	case r.Kind == engine.Stream:
		connect = []byte(query.Get("cf_connect"))
	case strings.HasPrefix(r.Header.Get("Content-Type"), "application/octet-stream"):
		return &engine.Refusal{Status: http.StatusUnsupportedMediaType, Reason: "streams are in JSON here, not in Protobuf"}
	}
	if len(connect) == 0 || !utf8.Valid(connect) {
		return session.Refuse("want the connect command: in cf_connect, or as the body of a POST")
	}
	a.Format, a.Named = p.encoding.format, true
	a.Lobby = func(c *engine.Conn) engine.Peer {
		l, first := newLobby(p.Protocol, p.encoding, a, c), connect
		connect, a.Body = nil, nil                                // whoever waits in the lobby for long keeps little
		c.Loop().Post(func() { c.Deliver(engine.OpText, first) }) // not now: it is not let in yet
		return l
	}
	return nil
}

// Ping implements session.Protocol. No pong is asked for: the client's kernel shows that it is there, and each pong would
// be a request.
func (p stream) Ping(*session.Session) []byte { return p.encoding.ping }

// Farewell implements engine.Farewell.
func (p stream) Farewell(cause *engine.Cause) []byte { return p.encoding.farewell(cause) }

// Farewell implements engine.Farewell, for streams.
func (l *lobby) Farewell(cause *engine.Cause) []byte { return l.encoding.farewell(cause) }

// farewell is what a stream has in place of a Close frame.
func (e *encoding) farewell(cause *engine.Cause) []byte {
	code, reason := Protocol{}.CloseFrame(cause)
	return e.frame(&pb.Reply{Push: &pb.Push{Disconnect: &pb.Disconnect{Code: uint32(code), Reason: reason}}})
}
