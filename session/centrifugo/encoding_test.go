package centrifugo

import (
	"testing"

	pb "github.com/centrifugal/protocol"
)

// FuzzFrame: a frame is cut into commands, each shorter than what is left, and what was decoded can be encoded.
func FuzzFrame(f *testing.F) {
	for _, seed := range []string{
		``, `{}`, "{}\n{}", `{"id":1,"connect":{"token":"t","subs":{"a":{"recover":true,"offset":1,"epoch":"e"}}}}`,
		`{"id":4294967296}`, `{"id":-1}`, `{"id":2,"subscribe":{"channel":"a","flag":-1}}`, "\x00", "\x02\x08\x01",
		"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "\x05\x2a\x7f\x0a\x01",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		for _, e := range []*encoding{inJSON, inProtobuf} {
			for rest := frame; ; {
				cmd, behind, err := e.next(rest)
				if err != nil {
					break
				}
				if len(behind) >= len(rest) {
					t.Fatalf("%q is left of %q", behind, rest)
				}
				_ = cmd.AppendJSON(nil)
				e.frame(&pb.Reply{Id: cmd.Id, Error: errBadRequest})
				if rest = behind; len(rest) == 0 {
					break
				}
			}
		}
	})
}
