package session_test

import (
	"wshub/session"
	"wshub/session/hubv1"
	"wshub/session/plain"
)

func init() {
	session.TestProtocols = []session.Protocol{hubv1.Protocol{}, plain.Protocol{}, plain.Protocol{Named: true}}
	session.TestFormat = plain.Verbatim
}
