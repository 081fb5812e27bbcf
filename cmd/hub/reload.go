package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"sync/atomic"

	"github.com/rs/zerolog"

	"wshub/session/token"
)

// reloader reads keys, secrets and certificates again when a signal says so: the files of --jwt-key, those of variables …_FILE, and the
// file of variables. All else was read at the start. Clients notice nothing: whoever was let in stays.
type reloader struct {
	// Fixed at birth.
	signals   <-chan os.Signal
	log       zerolog.Logger
	verifier  *token.Verifier // nil: the hub is open
	useSealer func(*token.Sealer)
	useKeys   func(keys, consoleKeys []string) // for the control port

	certificates func()                    // reads them again, and says itself if it can't
	useTickets   func(resumeKeys [][]byte) // for TLS
	useHooks     func(*config) error       // for webhooks
	useApps      func(*config) error       // for Pusher's applications
	started      *settings

	// Owned by Run.
	now *settings // whose keys are in force

	done, failed atomic.Uint64
}

// reloadable are the settings that can change while the hub runs.
var reloadable = []string{"jwt-secret", "jwt-key", "api-key", "console-key", "resume-key", "webhook-secret", "pusher-app"}

// Run reads at each signal until ctx ends.
func (r *reloader) Run(ctx context.Context) error {
	for {
		select {
		case <-r.signals:
			r.certificates()
			if err := r.reload(); err != nil {
				r.failed.Add(1)
				r.log.Error().Err(err).Msg("keys and secrets can't be read again; those from before hold")
				continue
			}
			r.done.Add(1)
			c := r.now.cfg
			r.log.Info().Int("jwt_secrets", len(c.JWTSecret)).Int("jwt_key_files", len(c.JWTKey)).Int("api_keys", len(c.APIKey)).Int("console_keys", len(c.ConsoleKey)).
				Int("resume_keys", len(c.ResumeKey)).Int("webhook_secrets", len(c.WebhookSecret)).Int("pusher_apps", len(c.PusherApp)).Msg("keys and secrets are read again, and hold from now on")
		case <-ctx.Done():
			return nil
		}
	}
}

// reload takes all or nothing.
func (r *reloader) reload() error {
	next, err := r.now.again()
	if err != nil {
		return err
	}
	old, c := r.now.cfg, next.cfg
	old.clean.learn(slices.Concat(old.secrets(), c.secrets())...) // the log's: an error below may be about a new one
	if err := errors.Join(next.validateAgain(), old.sameKinds(c), old.sameApps(c), r.started.cfg.stillSigns(c)); err != nil {
		return err
	}
	sealer, err := c.sealer()
	if err != nil {
		return err
	}
	if r.verifier != nil {
		if err := r.verifier.Reload(c.JWTSecret, c.JWTKey); err != nil {
			return err
		}
	}
	if sealer != nil {
		r.useSealer(sealer)
	}
	if keys, err := c.resumeKeys(); err == nil && len(keys) > 0 {
		r.useTickets(keys)
	}
	r.useKeys(c.APIKey, c.ConsoleKey)
	if err := errors.Join(r.useHooks(c), r.useApps(c)); err != nil {
		return err // none: they were validated
	}
	if others := r.started.differences(next); len(others) > 0 {
		r.log.Warn().Strs("settings", others).Msg("these settings have changed, too, and take a restart")
	}
	c.clean = old.clean
	r.now = next
	return nil
}

// sameKinds is an error where next has keys of a kind of which c has none, or the other way round: whom the hub believes
// would change, and not only by which key.
func (c *config) sameKinds(next *config) error {
	var errs []error
	for _, of := range []struct {
		flags       string
		before, now bool
	}{
		{"--jwt-secret, --jwt-key", c.isOpen(), next.isOpen()},
		{"--api-key", len(c.APIKey) == 0, len(next.APIKey) == 0},
		{"--resume-key", len(c.ResumeKey) == 0, len(next.ResumeKey) == 0},
	} {
		if of.before != of.now {
			errs = append(errs, fmt.Errorf("%s: to begin with keys, or to do without, takes a restart", of.flags))
		}
	}
	return errors.Join(errs...)
}

// stillSigns is an error where next has no secret for the webhooks that the hub was started with, as it has no webhooks either: they post on,
// and no request may go without a signature.
func (c *config) stillSigns(next *config) error {
	if len(c.Webhook) > 0 && len(next.WebhookSecret) == 0 {
		return errors.New("--webhook-secret: to do without takes a restart: until then the hub posts to the --webhook that it was started with")
	}
	return nil
}

// differences are the other settings that next has otherwise.
func (s *settings) differences(next *settings) (flags []string) {
	for i, f := range s.flags {
		if f.Group != nil && !slices.Contains(reloadable, f.Name) && !reflect.DeepEqual(f.Target.Interface(), next.flags[i].Target.Interface()) {
			flags = append(flags, "--"+f.Name)
		}
	}
	return flags
}

// counts are the reloads by outcome.
func (r *reloader) counts() map[string]uint64 {
	return map[string]uint64{"done": r.done.Load(), "failed": r.failed.Load()}
}
