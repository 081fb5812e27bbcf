package centrifugo

import (
	"encoding/json"
	"unicode/utf8"

	pb "github.com/centrifugal/protocol"
	"github.com/centrifugal/protocol/cfjson"

	"wshub/session"
)

// EmulationPath is where clients of streams send their commands.
const EmulationPath = "/emulation"

// emulation takes the commands of streams' clients. It opens no sessions.
type emulation struct{ Protocol }

// Subprotocols implements session.Protocol.
func (emulation) Subprotocols() []string { return nil }

// Relayed implements session.Relayer. The replies come by the stream.
func (emulation) Relayed(p *session.Post) {
	node, secret, commands, ok := readEmulation(p.Body())
	if !ok {
		p.Refuse(session.Refusal{Code: session.BadJSON, Text: `want {"session":…,"node":…,"data":"commands, one a line"}`})
		return
	}
	p.Relay(node, secret, []byte(commands))
}

// readEmulation reads {"session","node","data"}: the first two as the connect result has them, and the commands as a frame would
// have them, as a string.
func readEmulation(body []byte) (node, secret, commands string, ok bool) {
	var r pb.EmulationRequest
	if !utf8.Valid(body) || cfjson.Unmarshal(body, &r, 0) != nil || json.Unmarshal(r.Data, &commands) != nil {
		return "", "", "", false
	}
	return r.Node, r.Session, commands, commands != ""
}
