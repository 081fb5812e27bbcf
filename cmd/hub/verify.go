package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"wshub/session/token"
)

type verifyFlags struct {
	Token string `arg:"" optional:"" help:"The token. Without it, or with -, it is read from standard input, where others on the machine do not see it."`
}

// fetchTime is how long hub token verify waits for the key set.
const fetchTime = 10 * time.Second

// errRefused: the token is refused, and the reasons have been printed.
var errRefused = errors.New("the token is refused")

// verifyToken says what a hub with s makes of a token. It never prints the token.
func verifyToken(ctx context.Context, s *settings, stdin io.Reader, stdout io.Writer) error {
	if err := s.validate(); err != nil {
		return usageError{err}
	}
	raw := s.line.Token.Verify.Token
	if raw == "" || raw == "-" {
		text, err := readBounded(stdin)
		if err != nil {
			return fmt.Errorf("read the token: %w", err)
		}
		raw = trimmed(string(text))
	}
	if raw = strings.TrimPrefix(raw, "Bearer "); raw == "" {
		return usageError{errors.New("there is no token, neither as an argument nor in standard input")}
	}
	v, err := s.cfg.verifier(zerolog.Nop())
	switch {
	case err != nil:
		return err
	case v == nil:
		return usageError{errors.New("this hub is open: it has no keys and reads no token (--jwt-secret, --jwt-key, --jwks-url)")}
	}
	claims, findings := v.Examine(raw)
	if len(findings) == 1 && findings[0].Rule == token.NeedsFetch {
		if claims, findings, err = fetchAndExamine(ctx, v, raw); err != nil {
			return err
		}
	}
	if len(findings) > 0 {
		fmt.Fprintln(stdout, "The token is refused.")
		for _, f := range findings {
			fmt.Fprintf(stdout, "  %s: %s\n", f.Rule, f.Text)
		}
		return errRefused
	}
	s.cfg.describe(claims, stdout)
	return nil
}

// fetchAndExamine is Examine once the key set was fetched.
func fetchAndExamine(ctx context.Context, v *token.Verifier, raw string) (claims token.Claims, findings []token.Finding, err error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	answered := make(chan error, 1)
	err = around(ctx, v.Run, func(ctx context.Context) error {
		if !v.VerifyLater(raw, func(_ token.Claims, err error) { answered <- err }) {
			return token.ErrUnavailable
		}
		select {
		case err := <-answered:
			if errors.Is(err, token.ErrUnavailable) {
				return cmp.Or(v.Ready(), err)
			}
			if claims, findings = v.Examine(raw); len(findings) > 0 && err != nil {
				findings[0] = token.Explain(err)
			}
			return nil
		case <-ctx.Done():
			return cmp.Or(v.Ready(), ctx.Err())
		}
	})
	return claims, findings, err
}

// describe prints what a good token allows.
func (c *config) describe(claims token.Claims, w io.Writer) {
	fmt.Fprintf(w, "The token is good. Its user is %q.\n", claims.User)
	if claims.Expires.IsZero() {
		fmt.Fprintln(w, "  ends: never")
	} else {
		fmt.Fprintf(w, "  ends: %s, in %s (--jwt-skew %s included)\n", claims.Expires.UTC().Format(time.DateTime), time.Until(claims.Expires).Round(time.Second), c.JWTSkew)
	}
	rights, whose := claims.Rights, "by its claims"
	if defaults, err := c.rights(); err == nil {
		if defaults == nil {
			defaults = token.DefaultRights(c.Broadcast)
		}
		if rights = claims.Rights.Or(defaults); rights == defaults {
			whose = "by --default-subscribe and --default-publish, since it has no claim topics"
		}
	}
	subscribe, publish := rights.Patterns()
	fmt.Fprintf(w, "  may follow: %s, and user:%s\n", cmp.Or(strings.Join(subscribe, ", "), "nothing"), claims.User)
	fmt.Fprintf(w, "  may publish to: %s\n  (%s; {sub} is the user)\n", cmp.Or(strings.Join(publish, ", "), "nothing"), whose)
	for _, note := range claims.Notes {
		fmt.Fprintf(w, "  left out of it: %s\n", note)
	}
	fmt.Fprintln(w, "Only a running hub knows whether it was revoked.")
}
