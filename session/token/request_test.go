package token

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func TestFromRequest(t *testing.T) {
	long := strings.Repeat("x", maxToken)
	for _, c := range []struct {
		name          string
		authorization []string
		offered       []string
		query         string
		want          string
		err           error
	}{
		{"nowhere", nil, []string{"hub.v1.json"}, "topic=a", "", ErrMissing},
		{"header", []string{"Bearer abc"}, nil, "", "abc", nil},
		{"header, other case and spaces", []string{" bEARER   abc "}, nil, "", "abc", nil},
		{"subprotocol", nil, []string{"hub.v1.json", "bearer.a.b.c"}, "", "a.b.c", nil},
		{"query", nil, nil, "token=abc&topic=a", "abc", nil},
		{"the same everywhere", []string{"Bearer abc"}, []string{"bearer.abc"}, "token=abc", "abc", nil},
		{"header and query differ", []string{"Bearer abc"}, nil, "token=abd", "", ErrAmbiguous},
		{"header and subprotocol differ", []string{"Bearer abc"}, []string{"bearer.abd"}, "", "", ErrAmbiguous},
		{"two headers", []string{"Bearer abc", "Bearer abd"}, nil, "", "", ErrAmbiguous},
		{"two subprotocols", nil, []string{"bearer.abc", "bearer.abd"}, "", "", ErrAmbiguous},
		{"twice in the query", nil, nil, "token=abc&token=abd", "", ErrAmbiguous},
		{"a proxy's scheme", []string{"Basic abc"}, nil, "", "", ErrMissing},
		{"a proxy's scheme beside ours", []string{"Basic abc", "Bearer abd"}, nil, "", "abd", nil},
		{"empty", []string{"Bearer", "Bearer ", ""}, []string{"bearer."}, "token=", "", ErrMissing},
		{"no scheme", []string{"abc"}, nil, "", "", ErrMissing},
		{"at the limit", nil, nil, "token=" + long, long, nil},
		{"too long", nil, nil, "token=x" + long, "", ErrBadToken},
	} {
		query, err := url.ParseQuery(c.query)
		if err != nil {
			t.Fatal(err)
		}
		got, err := FromRequest(http.Header{"Authorization": c.authorization}, c.offered, query)
		if got != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: %.20q, %v", c.name, got, err)
		}
	}
}
