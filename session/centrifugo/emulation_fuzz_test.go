package centrifugo_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"wshub/session/centrifugo"
)

// Whatever comes, the commands of a request are valid text, and none of nothing.
func FuzzEmulation(f *testing.F) {
	for _, seed := range []string{
		`{"session":"s","node":"n","data":"{\"id\":1}\n{\"id\":2}"}`, `{"session":"s","node":"n","data":{}}`, `{"data":"\ud800"}`, `{"data":null}`, `{}`, ``, "\xff", `{"Data":"x"}`,
		`{"data":"x"}{`, `{"data":"x","data":"y"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		node, session, commands, ok := centrifugo.ReadEmulation(body)
		if ok && (len(commands) == 0 || !utf8.ValidString(commands+node+session) || !strings.Contains(string(body), `"data"`)) {
			t.Errorf("%q brings %q to %q on %q", body, commands, session, node)
		}
	})
}
