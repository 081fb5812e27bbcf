package token

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Finding is a rule that a token breaks, for an operator. It may quote claims and header fields of the token, cut short
// where they are long, but never the token or a part of its signature.
type Finding struct {
	// Rule is short and stable: the claim's name, or missing, ambiguous, malformed, key, signature, revoked, unavailable.
	Rule string
	Text string
	// User is whose token it is, "" unless it was signed by a known key and says so.
	User string
}

// NeedsFetch is the Rule of a Finding that is none yet: the token's key may be one that the key set has by now.
const NeedsFetch = "fetch"

// fault is an error of the Verifier, and what an operator should know of it beside the error's text.
type fault struct {
	error
	bare bool // nothing is known but the error's own rule: nobody has vouched for the token
	find func() Finding
}

func (f fault) Unwrap() error { return f.error }

// Explain says which rule a token breaks that was refused with err, an error of this package.
func Explain(err error) Finding {
	if f := new(fault); errors.As(err, f) {
		return f.find()
	}
	return Finding{Rule: ruleOf(err), Text: err.Error()}
}

// RuleOf is the Rule and the User of Explain. It costs little where nobody has vouched for the token.
func RuleOf(err error) (rule, user string) {
	if f := new(fault); errors.As(err, f) && f.bare {
		return ruleOf(err), ""
	}
	found := Explain(err)
	return found.Rule, found.User
}

// ruleOf names what a bare sentinel is about.
func ruleOf(err error) string {
	for _, one := range [...]struct {
		is   error
		rule string
	}{
		{ErrMissing, "missing"}, {ErrAmbiguous, "ambiguous"}, {ErrBadSignature, "signature"}, {ErrUnknownKey, "key"}, {ErrExpired, "exp"},
		{ErrNotYet, "nbf"}, {ErrBadClaims, "claims"}, {ErrUnavailable, "unavailable"}, {ErrNeedsFetch, NeedsFetch},
	} {
		if errors.Is(err, one.is) {
			return one.rule
		}
	}
	return "malformed"
}

// faultOf puts a finding to err. text puts it into words only where somebody asks.
func faultOf(err error, user string, rule string, text func() string) error {
	return fault{err, false, func() Finding { return Finding{rule, text(), user} }}
}

// clip is text of a token that nobody has vouched for, as a log may hold it.
func clip(text string) string {
	const most = 64
	if len(text) > most {
		return strconv.Quote(text[:most]) + "…"
	}
	return strconv.Quote(text)
}

func (v *Verifier) badToken(text string) error {
	return fault{ErrBadToken, true, func() Finding { return Finding{Rule: ruleOf(ErrBadToken), Text: v.malformed(text)} }}
}

func (v *Verifier) badSignature(t *jwt.Token, err error) error {
	return fault{err, true, func() Finding { return Finding{Rule: ruleOf(err), Text: v.unsigned(t)} }}
}

// malformed says why a text is no token that can be read.
func (v *Verifier) malformed(text string) string {
	at := strings.IndexFunc(text, notJWT)
	switch parts := strings.Count(text, ".") + 1; {
	case len(text) > maxToken:
		return fmt.Sprintf("it has %d bytes, at most %d are accepted", len(text), maxToken)
	case at >= 0:
		return fmt.Sprintf("byte %d is no letter, digit, -, _ or dot: a JWT has nothing else, and no line end behind it", at+1)
	case parts != 3:
		return fmt.Sprintf("it has %d parts with dots between them; a signed JWT has 3", parts)
	}
	parsed, _, err := v.parser.ParseUnverified(text, jwt.MapClaims{})
	switch {
	case err != nil:
		return "its header or its claims are no base64url of JSON, or its alg is not known"
	case parsed.Header["crit"] != nil:
		return "its header has crit, which names extensions that are not known here"
	}
	return "its header has a kid that is no string"
}

// unsigned says why a token's signature was not accepted.
func (v *Verifier) unsigned(t *jwt.Token) string {
	alg, _ := t.Header["alg"].(string)
	kid, _ := t.Header["kid"].(string)
	said := "alg " + clip(alg)
	if kid != "" {
		said += ", kid " + clip(kid)
	}
	fitting, all := 0, map[string]bool{}
	for _, list := range [][]key{*v.keys.Load(), v.set.list()} {
		for i := range list {
			if list[i].fits(alg, kid) {
				fitting++
			}
			for _, a := range list[i].algs {
				all[a] = true
			}
		}
	}
	switch {
	case !slices.Contains(algorithms, alg):
		return said + ": this alg is never accepted"
	case fitting > 0:
		return fmt.Sprintf("%s: keys here that fit this header: %d, and none of them has signed the token", said, min(fitting, maxTries))
	case !all[alg]:
		known := slices.DeleteFunc(slices.Clone(algorithms), func(a string) bool { return !all[a] })
		if len(known) == 0 {
			return said + ": no key was fetched yet"
		}
		return said + ": no key here is for this alg; the keys are for " + strings.Join(known, ", ")
	}
	return said + ": no key here has this kid"
}

// findings are the rules about claims that a token of known signature breaks, the one that Verify names first.
func (v *Verifier) findings(s signed) (list []Finding) {
	user, isText := s.MapClaims["sub"].(string)
	if !validName(user, maxUser) {
		user = ""
	}
	found := func(rule, format string, args ...any) {
		list = append(list, Finding{rule, fmt.Sprintf(format, args...), user})
	}
	for _, name := range [...]string{"exp", "nbf", "iat"} {
		if at, ok := s.MapClaims[name]; ok && !validTime(at) {
			found(name, "%s: want a number of seconds since 1970", name)
			return list
		}
	}
	cfg, now := &v.cfg, v.cfg.Now()
	if iss, _ := s.MapClaims.GetIssuer(); cfg.Issuer != "" && iss != cfg.Issuer {
		if iss == "" {
			found("iss", "the claim iss is missing, want %q", cfg.Issuer)
		} else {
			found("iss", "iss is %s, want %q", clip(iss), cfg.Issuer)
		}
	}
	if len(cfg.Audience) > 0 {
		aud, err := s.MapClaims.GetAudience()
		switch {
		case err != nil:
			found("aud", "aud: want a string or a list of strings")
		case len(aud) == 0:
			found("aud", "the claim aud is missing, want one of %q", cfg.Audience)
		case !slices.ContainsFunc(aud, func(one string) bool { return slices.Contains(cfg.Audience, one) }):
			found("aud", "aud is %s, want one of %q", clip(strings.Join(aud, ", ")), cfg.Audience)
		}
	}
	skew := fmt.Sprintf("the clock here may be off by %s", cfg.Skew)
	if exp := date(s.MapClaims, "exp"); exp.IsZero() && !cfg.AllowForever {
		found("exp", "the claim exp is missing")
	} else if late := now.Sub(exp.Truncate(time.Second)); !exp.IsZero() && late >= cfg.Skew {
		found("exp", "exp was %s ago (%s), and %s", late.Round(time.Second), exp.UTC().Format(time.DateTime), skew)
	}
	for _, name := range [...]string{"nbf", "iat"} {
		if at := date(s.MapClaims, name); at.Truncate(time.Second).Sub(now) > cfg.Skew {
			found(name, "%s is %s ahead (%s), and %s", name, at.Sub(now).Round(time.Second), at.UTC().Format(time.DateTime), skew)
		}
	}
	switch _, given := s.MapClaims["sub"]; {
	case !given:
		found("sub", "the claim sub, which names the user, is missing")
	case !isText:
		found("sub", "sub: want a string")
	case user == "":
		found("sub", "sub: want 1 to %d bytes of UTF-8 without control characters", maxUser)
	}
	return list
}

// finding is the one of findings that err is about.
func (v *Verifier) finding(s signed, err error) error {
	return fault{err, false, func() Finding {
		if list := v.findings(s); len(list) > 0 {
			return list[0]
		}
		return Finding{Rule: ruleOf(err), Text: err.Error()}
	}}
}

// wrong is an error about one claim that nothing else is wrong with.
func (s signed) wrong(err error, user, claim, format string, args ...any) error {
	return faultOf(err, user, claim, func() string { return fmt.Sprintf(format, args...) })
}

// Examine says all that is to be said of a token that Verify or VerifyLater was asked about: the claims as Verify gives
// them, zero for one that is refused, and the rules that it breaks.
func (v *Verifier) Examine(token string) (Claims, []Finding) {
	s, err := v.open(token)
	if err != nil {
		return Claims{}, []Finding{Explain(err)}
	}
	if list := v.findings(s); len(list) > 0 {
		return Claims{}, list
	}
	claims, err := v.read(s)
	if err != nil {
		return Claims{}, []Finding{Explain(err)}
	}
	return claims, nil
}
