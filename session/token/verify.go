package token

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	// maxToken is the longest token in bytes, as long as a whole handshake may be.
	maxToken = 8 << 10
	// maxTries bounds the signatures checked for one token without a kid: 8 with ES256 take a loop up to 1 ms.
	maxTries = 8
)

// algorithms are those of RFC 7518, 3.1 and RFC 8037 with a key; "none" is not among them.
var algorithms = []string{
	"HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512",
	"ES256", "ES384", "ES512", "EdDSA",
}

// Config says whose tokens are good. It needs a secret, a key file or a key set.
type Config struct {
	// Secrets are shared with the issuer, for HS256/384/512: 32 random bytes or more each, as they
	// stand. All are accepted, so that they can be rotated; up to 8 together with the keys of files.
	Secrets []string
	// KeyFiles are PEM files of public keys or certificates. A key fits tokens with any kid.
	KeyFiles []string
	// JWKS is the URL of a key set: https, or http on loopback. Run fetches it.
	JWKS string
	// JWKSRefresh is the time between two fetches, ±10 %. Default 15 min.
	JWKSRefresh time.Duration
	// JWKSRefetch is the least time from one fetch to the next for tokens whose kid is unknown: strangers
	// can make up kids at any rate. Default 3 s, so that an honest token with a new key waits no longer than
	// JWKSTimeout.
	JWKSRefetch time.Duration
	// JWKSTimeout bounds one fetch. Default 5 s.
	JWKSTimeout time.Duration
	// Transport fetches the key set. Default: that of net/http, without keep-alive.
	Transport http.RoundTripper
	// OnFetch gets the result of each fetch, on Run's goroutine: how many keys, or why not. The keys
	// from before stay if it failed, for as long as it does.
	OnFetch func(keys int, err error)

	// Issuer is the one whose tokens are good. Default: any that has the key.
	Issuer string
	// Audience has the names of this hub; a token must be for one of them. Default: aud is not looked
	// at. Set it where the issuer serves others, too: their tokens are good here otherwise.
	Audience []string
	// Skew is how far the issuer's clock may be off. Default 30 s; below 0 for none.
	Skew time.Duration
	// AllowForever accepts tokens without exp. They end only by being revoked.
	AllowForever bool
	// Default is for tokens without a topics claim. Nil allows nothing, and leaves it to Rights.Or.
	Default *Rights
	// Now is the clock for what tokens say. Default time.Now.
	Now func() time.Time
}

func (cfg Config) withDefaults() Config {
	cfg.JWKSRefresh = orElse(cfg.JWKSRefresh, 15*time.Minute)
	cfg.JWKSRefetch = orElse(cfg.JWKSRefetch, 3*time.Second)
	cfg.JWKSTimeout = orElse(cfg.JWKSTimeout, 5*time.Second)
	cfg.Skew = max(orElse(cfg.Skew, 30*time.Second), 0)
	if cfg.OnFetch == nil {
		cfg.OnFetch = func(int, error) {}
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return cfg
}

func orElse(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return d
}

// Verifier checks tokens.
type Verifier struct {
	// Fixed at birth.
	cfg       Config
	parser    *jwt.Parser    // checks signatures
	validator *jwt.Validator // checks claims
	set       *keySet        // nil without a URL

	// Shared. The slice is replaced whole by Reload.
	keys atomic.Pointer[[]key]

	// Shared. Rights that one user alone has may come and go without taking away those of many.
	interned, extended intern
}

// NewVerifier reads the key files. Its errors name the setting and never contain a secret.
func NewVerifier(cfg Config) (*Verifier, error) {
	cfg = cfg.withDefaults()
	v := &Verifier{
		cfg:       cfg,
		parser:    jwt.NewParser(jwt.WithValidMethods(algorithms), jwt.WithStrictDecoding(), jwt.WithoutClaimsValidation()),
		validator: newValidator(cfg),
	}
	if cfg.JWKS != "" {
		set, err := newKeySet(cfg)
		if err != nil {
			return nil, err
		}
		v.set = set
	}
	if err := v.Reload(cfg.Secrets, cfg.KeyFiles); err != nil {
		return nil, err
	}
	return v, nil
}

// Reload reads the key files, and replaces all secrets and keys of files at once: tokens are verified with the new ones
// from now on, and what a session may do by an older token stays. The key set stays, too. After an error the keys from
// before hold. Call it from any goroutine, but not from two at a time.
func (v *Verifier) Reload(secrets, keyFiles []string) error {
	var keys []key
	for i, secret := range secrets {
		k, err := secretKey(secret)
		if err != nil {
			return fmt.Errorf("secret %d: %w", i+1, err)
		}
		keys = append(keys, k)
	}
	for _, path := range keyFiles {
		read, err := readKeyFile(path)
		if err != nil {
			return fmt.Errorf("key file: %w", err)
		}
		keys = append(keys, read...)
	}
	switch {
	case len(keys) > maxTries:
		return fmt.Errorf("%d secrets and keys of files, at most %d are allowed", len(keys), maxTries)
	case len(keys) == 0 && v.set == nil:
		return errors.New("want a secret, a key file or a key set")
	}
	v.keys.Store(&keys)
	return nil
}

func newValidator(cfg Config) *jwt.Validator {
	options := []jwt.ParserOption{
		jwt.WithTimeFunc(cfg.Now), jwt.WithLeeway(cfg.Skew), jwt.WithIssuedAt(), jwt.WithIssuer(cfg.Issuer),
	}
	if len(cfg.Audience) > 0 {
		options = append(options, jwt.WithAudience(cfg.Audience...))
	}
	if !cfg.AllowForever {
		options = append(options, jwt.WithExpirationRequired())
	}
	return jwt.NewValidator(options...)
}

// Run keeps the key set fresh and answers VerifyLater until ctx ends, and then returns nil. Without a key set it only
// waits. Call it once.
func (v *Verifier) Run(ctx context.Context) error {
	if v.set != nil {
		v.set.run(ctx)
	}
	<-ctx.Done()
	return nil
}

// Verify checks token with the keys in memory, in up to 1 ms and without waiting for anybody. ErrNeedsFetch:
// ask VerifyLater. Otherwise one of ErrBadToken, ErrBadSignature, ErrUnknownKey, ErrExpired, ErrNotYet and
// ErrBadClaims.
func (v *Verifier) Verify(token string) (Claims, error) {
	return twice(v, func() (Claims, error) { return v.verify(token) })
}

// twice calls verify, and once more if it failed while new keys came in.
func twice[T any](v *Verifier, verify func() (T, error)) (T, error) {
	had := v.set.version()
	c, err := verify()
	if err != nil && v.set.version() != had {
		return verify()
	}
	return c, err
}

func (v *Verifier) verify(token string) (Claims, error) {
	s, err := v.open(token)
	if err != nil {
		return Claims{}, err
	}
	return v.read(s)
}

// signed is a token whose signature is good. Its claims are not checked yet.
type signed struct {
	jwt.MapClaims
	fingerprint Fingerprint
	text        string
}

// open checks a token's signature.
func (v *Verifier) open(token string) (signed, error) {
	if len(token) > maxToken || strings.ContainsFunc(token, notJWT) {
		return signed{}, v.badToken(token)
	}
	m := jwt.MapClaims{}
	parsed, err := v.parser.ParseWithClaims(token, m, v.candidates)
	if err == nil {
		return signed{m, fingerprint(parsed, token), token}, nil
	}
	err = explain(err)
	switch {
	case v.mayBeNew(parsed, err):
		err = ErrNeedsFetch
	case err == ErrBadToken:
		err = v.badToken(token)
	case err == ErrBadSignature || err == ErrUnknownKey:
		err = v.badSignature(parsed, err)
	}
	return signed{}, err
}

// Ready is nil while Verify has the keys that it needs, else an ErrUnavailable that says why not: the key set was never
// fetched. Keys that were once fetched stay.
func (v *Verifier) Ready() error {
	if v.set == nil {
		return nil
	}
	return v.set.ready()
}

// notJWT reports whether r is in no JWT. The decoder would skip line ends.
func notJWT(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.')
}

// candidates are the keys that may have signed t, whose header nobody has vouched for yet.
func (v *Verifier) candidates(t *jwt.Token) (any, error) {
	if _, critical := t.Header["crit"]; critical {
		return nil, ErrBadToken // we understand none (RFC 7515, 4.1.11)
	}
	alg, kid, ok := header(t)
	if !ok {
		return nil, ErrBadToken
	}
	var set jwt.VerificationKeySet
	for _, list := range [][]key{*v.keys.Load(), v.set.list()} {
		for i := range list {
			if list[i].fits(alg, kid) && len(set.Keys) < maxTries {
				set.Keys = append(set.Keys, list[i].use)
			}
		}
	}
	if len(set.Keys) == 0 {
		return nil, ErrUnknownKey
	}
	return set, nil
}

// header is a parsed token's algorithm and key ID, which may be absent.
func header(t *jwt.Token) (alg, kid string, ok bool) {
	kid, ok = t.Header["kid"].(string)
	if _, present := t.Header["kid"]; present && !ok {
		return "", "", false
	}
	return t.Method.Alg(), kid, true
}

// mayBeNew reports whether a token that failed with err may be signed by a key that the set has by now.
func (v *Verifier) mayBeNew(t *jwt.Token, err error) bool {
	if v.set == nil || err != ErrBadSignature && err != ErrUnknownKey {
		return false
	}
	alg, kid, ok := header(t)
	return ok && slices.Contains(algorithms, alg) && !strings.HasPrefix(alg, "HS") && !v.set.knows(kid)
}

// explain turns the library's errors, some of which quote the token, into ours.
func explain(err error) error {
	for _, e := range [...]struct {
		is, ours error
	}{
		{ErrBadToken, ErrBadToken},
		{ErrUnknownKey, ErrUnknownKey},
		{jwt.ErrTokenMalformed, ErrBadToken},
		{jwt.ErrTokenUnverifiable, ErrBadToken},
		{jwt.ErrTokenSignatureInvalid, ErrBadSignature},
		{jwt.ErrTokenInvalidIssuer, badClaim("iss")},
		{jwt.ErrTokenInvalidAudience, badClaim("aud")},
		{jwt.ErrTokenExpired, ErrExpired},
		{jwt.ErrTokenNotValidYet, ErrNotYet},
		{jwt.ErrTokenUsedBeforeIssued, ErrNotYet},
		{jwt.ErrTokenRequiredClaimMissing, fmt.Errorf("%w: one of exp, iss and aud is missing", ErrBadClaims)},
	} {
		if errors.Is(err, e.is) {
			return e.ours
		}
	}
	return ErrBadClaims
}
