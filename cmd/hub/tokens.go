package main

import (
	"errors"
	"fmt"

	"github.com/rs/zerolog"

	"wshub/session/token"
)

// validateTokens also reads the key files.
func (c *config) validateTokens() error {
	for _, one := range []struct {
		flag  string
		given int
		cfg   token.Config
	}{
		{"jwt-secret", len(c.JWTSecret), token.Config{Secrets: c.JWTSecret}},
		{"jwt-key", len(c.JWTKey), token.Config{KeyFiles: c.JWTKey}},
		{"jwks-url", len(c.JWKSURL), token.Config{JWKS: c.JWKSURL}},
	} {
		if one.given == 0 {
			continue
		}
		if _, err := token.NewVerifier(one.cfg); err != nil {
			return fmt.Errorf("--%s: %w", one.flag, err)
		}
	}
	switch {
	case c.isOpen() && len(c.JWTAud) > 0:
		return errors.New("--jwt-aud: there are no keys to check tokens with (--jwt-secret, --jwt-key, --jwks-url)")
	case c.isOpen() && c.JWTIss != "":
		return errors.New("--jwt-iss: there are no keys to check tokens with (--jwt-secret, --jwt-key, --jwks-url)")
	case !c.isOpen() && c.TrustUserParam:
		return errors.New("--trust-user-param: with keys for tokens the user comes from the token")
	}
	_, err1 := c.verifier(zerolog.Nop())
	_, err2 := c.rights()
	_, err3 := c.sealer()
	_, err4 := c.presenceRights()
	return errors.Join(err1, err2, err3, err4)
}

// verifier checks the tokens of clients. nil: the hub is open.
func (c *config) verifier(log zerolog.Logger) (*token.Verifier, error) {
	if c.isOpen() {
		return nil, nil
	}
	skew := c.JWTSkew
	if skew == 0 {
		skew = -1 // none
	}
	log = log.With().Str("part", "token").Logger()
	v, err := token.NewVerifier(token.Config{
		Secrets:  c.JWTSecret,
		KeyFiles: c.JWTKey,
		JWKS:     c.JWKSURL,
		Issuer:   c.JWTIss,
		Audience: c.JWTAud,
		Skew:     skew,
		OnFetch: func(keys int, err error) {
			if err != nil {
				log.Warn().Err(err).Msg("the key set can't be fetched; the keys from before stay")
				return
			}
			log.Debug().Int("keys", keys).Msg("key set fetched")
		},
	})
	if err != nil {
		return nil, fmt.Errorf("--jwt-key: %w", err) // too many of them: all else was seen in checkTokens
	}
	return v, nil
}

// rights are those of sessions whose token does not say. nil: session's own default.
func (c *config) rights() (*token.Rights, error) {
	if len(c.DefaultSubscribe)+len(c.DefaultPublish) == 0 {
		return nil, nil
	}
	subscribe := c.DefaultSubscribe
	if len(subscribe) == 0 {
		subscribe = []string{c.Broadcast}
	}
	if _, err := token.NewRights(subscribe, nil); err != nil {
		return nil, fmt.Errorf("--default-subscribe: %w", err)
	}
	rights, err := token.NewRights(subscribe, c.DefaultPublish)
	if err != nil {
		return nil, fmt.Errorf("--default-publish: %w", err)
	}
	return rights, nil
}
