package pusher_test

import (
	"cmp"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"wshub/session/pusher"
)

// The examples of Pusher's documentation.
func TestDocumentedSignatures(t *testing.T) {
	a := &pusher.App{ID: "3", Key: "278d425bdf160c739803", Secret: "7ad3773142a6692b25b8"}
	for text, want := range map[string]string{
		"1234.1234:private-foobar": "58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4",
		`1234.1234:presence-foobar:{"user_id":10,"user_info":{"name":"Mr. Channels"}}`: "31935e7d86dba64c2a90aed31fdc61869f9b22ba9d8863bba239c03ca481bc80",
		`1234.1234::user::{"id":"12345"}`:                                              "4708d583dada6a56435fb8bc611c77c359a31eebde13337c16ab43aa6de336ba",
	} {
		if got := a.Sign(text); got != want {
			t.Errorf("%s: %s", text, got)
		}
	}
	body := `{"name":"foo","channels":["project-3"],"data":"{\"some\":\"data\"}"}`
	query := url.Values{
		"auth_key": {a.Key}, "auth_timestamp": {"1353088179"}, "auth_version": {"1.0"}, "body_md5": {"ec365a775a4cd0599faeb73354201b6f"},
		"auth_signature": {"da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c"},
	}
	if err := verify(a, "POST", "/apps/3/events", query, body, time.Unix(1353088179, 0)); err != nil {
		t.Error(err)
	}
	if err := verify(a, "POST", "/behind/a/proxy/apps/3/events", query, body, time.Unix(1353088179+600, 0)); err != nil {
		t.Error(err)
	}
}

// signed is a query that the application's backend has signed, changed before by change.
func signed(a *pusher.App, method, path, body string, at time.Time, change func(url.Values)) url.Values {
	q := url.Values{"auth_key": {a.Key}, "auth_version": {"1.0"}, "auth_timestamp": {fmt.Sprint(at.Unix())}}
	if body != "" {
		sum := md5.Sum([]byte(body))
		q.Set("body_md5", hex.EncodeToString(sum[:]))
	}
	if change != nil {
		change(q)
	}
	q.Set("auth_signature", a.Sign(pusher.StringToSign(method, path, q)))
	return q
}

// verify verifies a whole request.
func verify(a *pusher.App, method, path string, query url.Values, body string, now time.Time) error {
	return cmp.Or(a.VerifyRequest(method, path, query, now), pusher.VerifyBody(query, []byte(body)))
}

func TestRequestsThatAreNotSignedSoAreRefused(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	const path, body = "/apps/1/events", `{"name":"a"}`
	good := func() url.Values { return signed(app, "POST", path, body, now, nil) }
	if err := verify(app, "POST", path, good(), body, now); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		query        url.Values
		method, path string
		body         string
		at           time.Duration
		why          string
	}{
		"another method":       {query: good(), method: "GET", why: "auth_signature"},
		"another path":         {query: good(), path: "/apps/1/batch_events", why: "auth_signature"},
		"another body":         {query: good(), body: `{"name":"b"}`, why: "body_md5"},
		"no body":              {query: good(), body: " ", why: "body_md5"},
		"601 s late":           {query: good(), at: 601 * time.Second, why: "auth_timestamp"},
		"601 s early":          {query: good(), at: -601 * time.Second, why: "auth_timestamp"},
		"another application":  {query: signed(other, "POST", path, body, now, nil), why: "auth_key"},
		"another's secret":     {query: signed(&pusher.App{Key: app.Key, Secret: "wrong"}, "POST", path, body, now, nil), why: "auth_signature"},
		"no timestamp":         {query: signed(app, "POST", path, body, now, func(q url.Values) { q.Del("auth_timestamp") }), why: "auth_timestamp"},
		"a far timestamp":      {query: signed(app, "POST", path, body, now, func(q url.Values) { q.Set("auth_timestamp", "-9223372036854775808") }), why: "auth_timestamp"},
		"another version":      {query: signed(app, "POST", path, body, now, func(q url.Values) { q.Set("auth_version", "2.0") }), why: "auth_version"},
		"no body_md5":          {query: signed(app, "POST", path, body, now, func(q url.Values) { q.Del("body_md5") }), why: "body_md5"},
		"a body_md5 not of it": {query: signed(app, "POST", path, body, now, func(q url.Values) { q.Set("body_md5", "00") }), why: "body_md5"},
		"a member more":        {query: func() url.Values { q := good(); q.Set("info", "user_count"); return q }(), why: "auth_signature"},
		"a second key":         {query: func() url.Values { q := good(); q.Add("auth_key", "x"); return q }(), why: "2 times"},
		"nothing":              {query: url.Values{}, why: "auth_key"},
	} {
		t.Run(name, func(t *testing.T) {
			method, at, sent := "POST", path, body
			if test.method != "" {
				method = test.method
			}
			if test.path != "" {
				at = test.path
			}
			if test.body != "" {
				sent = strings.TrimSpace(test.body)
			}
			err := verify(app, method, at, test.query, sent, now.Add(test.at))
			if err == nil || !strings.Contains(err.Error(), test.why) || strings.Contains(err.Error(), app.Secret) {
				t.Errorf("got %v, want one about %s", err, test.why)
			}
		})
	}
}

func FuzzVerifyRequest(f *testing.F) {
	f.Add("POST", "/apps/1/events", "auth_key=key&auth_version=1.0&auth_timestamp=1", "{}")
	f.Add("", "", "auth_timestamp=-9223372036854775808&auth_key=key&auth_version=1.0", "")
	f.Fuzz(func(t *testing.T, method, path, query, body string) {
		q, err := url.ParseQuery(query)
		if err == nil && verify(app, method, path, q, body, time.Unix(0, 0)) == nil {
			t.Error("a request without a signature passes")
		}
	})
}
