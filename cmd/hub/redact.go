package main

import (
	"encoding/json"
	"io"
	"net/url"
	"strings"
)

const (
	// masked stands where a secret stood.
	masked = "***"
	// leastSecret is the length from which a secret is searched for in text. Shorter ones would also
	// hit words that mean something else.
	leastSecret = 6
)

// redactor takes secrets out of text.
type redactor struct{ replace *strings.Replacer }

// newRedactor knows each secret as it stands, inside JSON, and inside a URL.
func newRedactor(secrets ...string) redactor {
	var pairs []string
	for _, s := range secrets {
		if len(s) < leastSecret {
			continue
		}
		for _, form := range []string{s, quoted(s, false), quoted(s, true), url.QueryEscape(s), url.PathEscape(s), url.UserPassword("", s).String()[1:]} {
			pairs = append(pairs, form, masked)
		}
	}
	return redactor{strings.NewReplacer(pairs...)}
}

// quoted is s as it stands between the quotes of a JSON string: zerolog leaves < alone, encoding/json
// escapes it; with DEL it is the other way round.
func quoted(s string, html bool) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(html)
	_ = e.Encode(s) // a string can always be written
	return strings.ReplaceAll(strings.TrimSuffix(b.String(), "\"\n")[1:], "\x7f", `\u007f`)
}

// text returns s without secrets.
func (r redactor) text(s string) string { return r.replace.Replace(s) }

// writer passes on what is written to it, without secrets. A secret must not be split over two writes:
// a logger writes whole lines.
func (r redactor) writer(w io.Writer) io.Writer { return redactingWriter{r, w} }

type redactingWriter struct {
	redactor
	w io.Writer
}

func (w redactingWriter) Write(p []byte) (int, error) {
	if _, err := io.WriteString(w.w, w.text(string(p))); err != nil {
		return 0, err
	}
	return len(p), nil
}

// maskURL returns raw without its password. What can't be read as a URL with a host is masked whole.
func maskURL(raw string) string {
	u, err := url.Parse(raw)
	switch {
	case raw == "":
		return ""
	case err != nil || u.Opaque != "" || u.Scheme == "":
		return masked
	case u.User == nil:
		return raw
	}
	if _, ok := u.User.Password(); !ok { // most likely a password in the wrong place
		u.User = url.User(masked)
	}
	return u.Redacted()
}

// urlSecrets are the secrets in raw, a URL.
func urlSecrets(raw string) []string {
	u, err := url.Parse(raw)
	if err != nil || u.User == nil {
		return nil
	}
	if password, ok := u.User.Password(); ok {
		return []string{password}
	}
	return []string{u.User.Username()}
}
