package main

import (
	"encoding/json"
	"errors"
	"io"
	"net/url"
	"strings"
	"sync/atomic"
)

const (
	// masked stands where a secret stood.
	masked = "***"
	// leastSecret is the length from which a secret is searched for in text. Shorter ones would also
	// hit words that mean something else.
	leastSecret = 6
)

// redactor takes secrets out of text. Its copies know the same ones.
type redactor struct {
	replace *atomic.Pointer[strings.Replacer]
}

// newRedactor knows each secret as it stands, inside JSON, and inside a URL.
func newRedactor(secrets ...string) redactor {
	r := redactor{new(atomic.Pointer[strings.Replacer])}
	r.learn(secrets...)
	return r
}

// learn has r know these secrets in place of those that it knew. It may be called at any time.
func (r redactor) learn(secrets ...string) {
	var pairs []string
	for _, s := range secrets {
		if len(s) < leastSecret {
			continue
		}
		for _, form := range []string{s, quoted(s, false), quoted(s, true), url.QueryEscape(s), url.PathEscape(s), url.UserPassword("", s).String()[1:]} {
			pairs = append(pairs, form, masked)
		}
	}
	r.replace.Store(strings.NewReplacer(pairs...))
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
func (r redactor) text(s string) string { return r.replace.Load().Replace(s) }

// error is err with a text without secrets.
func (r redactor) error(err error) error {
	if err == nil || r.text(err.Error()) == err.Error() {
		return err
	}
	return redactedError{err, r.text(err.Error())}
}

type redactedError struct {
	error
	text string
}

func (e redactedError) Error() string { return e.text }

func (e redactedError) Unwrap() error { return e.error }

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

// maskURL returns raw without its password and without the values in its query. A torn URL, and text that can't be
// read as a URL, is masked whole.
func maskURL(raw string) string {
	u, err := url.Parse(raw)
	switch {
	case raw == "":
		return ""
	case err != nil || u.Opaque != "" || u.Scheme == "" || isTorn(raw):
		return masked
	}
	if _, ok := u.User.Password(); u.User != nil && !ok { // most likely a password in the wrong place
		u.User = url.User(masked)
	}
	u.RawQuery = maskQuery(u.RawQuery)
	return u.Redacted()
}

// maskQuery leaves of a query the names. A part without "=" may be a key itself.
func maskQuery(query string) string {
	parts := strings.Split(query, "&")
	for i, part := range parts {
		switch name, _, isPair := strings.Cut(part, "="); {
		case isPair:
			parts[i] = name + "=" + masked
		case part != "":
			parts[i] = masked
		}
	}
	return strings.Join(parts, "&")
}

// isTorn reports whether raw holds a character that can't be meant where it stands: mostly one of a password, which ends
// the password there. A parser would take "redis://:57#x@host" for port 57 of this machine.
func isTorn(raw string) bool {
	_, rest, _ := strings.Cut(raw, "://")
	if end := strings.IndexAny(rest, "/?#"); end >= 0 && strings.Contains(rest[end:], "@") {
		return true
	}
	return strings.ContainsFunc(raw, func(r rune) bool { return r == '#' || r <= ' ' || r == '\\' || r == 0x7f })
}

var errTorn = errors.New("special characters in a URL are written %XX: a # is %23, / is %2F, ? is %3F, @ is %40, a blank %20; as it stands, parts of the URL would be taken for others")

// urlSecrets are the secrets before the host of raw, a URL.
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

// querySecrets are the values in the query of raw, a URL, as they stand and decoded.
func querySecrets(raw string) (secrets []string) {
	_, query, _ := strings.Cut(raw, "?")
	for part := range strings.SplitSeq(query, "&") {
		value := part
		if _, after, isPair := strings.Cut(part, "="); isPair {
			value = after
		}
		secrets = append(secrets, value)
		if decoded, err := url.QueryUnescape(value); err == nil && decoded != value {
			secrets = append(secrets, decoded)
		}
	}
	return secrets
}
