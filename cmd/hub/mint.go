package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"wshub/session/token"
)

// mintFlags say what a token for development says.
type mintFlags struct {
	Sub       string        `required:"" placeholder:"USER" help:"The user that the token is for."`
	TTL       time.Duration `name:"ttl" default:"1h" help:"Time until it expires, at least 1s."`
	Subscribe []string      `placeholder:"PATTERN" help:"Topics that it allows to follow, as in news:*. Without this and --publish the token has no topics claim, and the hub's defaults hold."`
	Publish   []string      `placeholder:"PATTERN" help:"Topics that it allows to publish to."`
	Sees      []string      `placeholder:"PATTERN" help:"Topics of --presence whose members it shows. Without this the token has no presence claim, and --default-presence holds."`
	Info      string        `placeholder:"JSON" help:"An object of up to 1 KiB that others see of the user."`
	KeyID     string        `placeholder:"ID" help:"The key's name in the issuer's key set."`
}

// printToken mints what s asks for, for the issuer and audience that the settings name.
func printToken(s *settings, stdout io.Writer) error {
	key, err := s.cfg.signingKey()
	if err != nil {
		return usageError{s.named(err)}
	}
	m := s.line.Token.Mint
	text, err := token.Mint(key, token.Grant{
		Subject: m.Sub, TTL: m.TTL, Subscribe: m.Subscribe, Publish: m.Publish, KeyID: m.KeyID,
		Presence: m.Sees, Info: json.RawMessage(m.Info),
		Issuer: s.cfg.JWTIss, Audience: s.cfg.JWTAud,
	})
	if err != nil {
		return usageError{err}
	}
	_, err = fmt.Fprintln(stdout, text)
	return err
}

func (c *config) signingKey() (token.SigningKey, error) {
	if len(c.JWTSecret) > 0 {
		key, err := token.SecretSigner(c.JWTSecret[0])
		if err != nil {
			err = fmt.Errorf("--jwt-secret: %w", err)
		}
		return key, err
	}
	if len(c.JWTKey) == 0 {
		return token.SigningKey{}, errors.New("want a --jwt-secret, or a --jwt-key with the file of a private key")
	}
	if err := validateKeyFile(0, c.JWTKey[0]); err != nil {
		return token.SigningKey{}, err
	}
	text, err := os.ReadFile(c.JWTKey[0])
	if err != nil {
		return token.SigningKey{}, fmt.Errorf("--jwt-key: %w", err)
	}
	key, err := token.PEMSigner(text)
	if err != nil {
		err = fmt.Errorf("--jwt-key %s: %w", c.JWTKey[0], err)
	}
	return key, err
}
