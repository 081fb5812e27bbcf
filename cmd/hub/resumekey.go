package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"wshub/pubsub"
	"wshub/session"
	"wshub/session/token"
)

// resumeKeys are the keys of --resume-key.
func (c *config) resumeKeys() (keys [][]byte, err error) {
	for i, text := range c.ResumeKey {
		key, err := token.ParseResumeKey(text)
		switch {
		case err != nil && strings.Contains(text, ","):
			return nil, fmt.Errorf("--resume-key: key %d: %w; several keys stand one a line, or in repeated flags", i+1, err)
		case err != nil:
			return nil, fmt.Errorf("--resume-key: key %d: %w", i+1, err)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// sealer seals resume tokens with the keys of --resume-key. nil: the broker has a key.
func (c *config) sealer() (*token.Sealer, error) {
	keys, err := c.resumeKeys()
	if err != nil || len(keys) == 0 {
		return nil, err
	}
	s, err := token.NewSealer(token.SealerConfig{Keys: keys})
	if err != nil {
		return nil, fmt.Errorf("--resume-key: %w", err)
	}
	return s, nil
}

// resumeKey gets the hub its sealer: of --resume-key, else of the key that instances share at the broker, for
// which it asks as long as that takes, as Redis may be away when the hub starts.
type resumeKey struct {
	// Fixed at birth.
	given   *token.Sealer // nil: ask
	keys    [][]byte      // those of given
	ask     func(ctx context.Context) ([]byte, error)
	use     func(*token.Sealer)
	tickets func(keys [][]byte) // of TLS
	log     zerolog.Logger

	answered atomic.Bool
}

func newResumeKey(c *config, from broker, to *session.Hub, tls *publicTLS, log zerolog.Logger) (*resumeKey, error) {
	given, err := c.sealer()
	k := &resumeKey{given: given, ask: from.ResumeKey, use: to.UseSealer, tickets: tls.useTicketKeys, log: log}
	k.keys, _ = c.resumeKeys()
	if err == nil && (given != nil || c.RedisURL == "") { // nobody is waited for: the first client has a token, too
		err = k.try(context.Background())
	}
	return k, err
}

// firstRetry and lastRetry are the shortest and the longest time between two questions, less a random part
// of up to the half.
const (
	firstRetry = 50 * time.Millisecond
	lastRetry  = 5 * time.Second
)

// Run asks until there is a key, and then waits for ctx's end.
func (k *resumeKey) Run(ctx context.Context) error {
	pause := firstRetry
	for {
		err := k.try(ctx)
		if err == nil {
			<-ctx.Done()
			return nil
		}
		if ctx.Err() == nil && pause == firstRetry {
			k.log.Warn().Func(pubsub.Because(err)).Msg("no resume key yet: clients get no resume tokens until there is one")
		}
		again := time.NewTimer(pause/2 + rand.N(pause/2))
		select {
		case <-again.C:
		case <-ctx.Done():
			again.Stop()
			return nil
		}
		pause = min(2*pause, lastRetry)
	}
}

func (k *resumeKey) try(ctx context.Context) error {
	if k.given != nil {
		k.use(k.given)
		k.tickets(k.keys)
		k.answered.Store(true)
		return nil
	}
	key, err := k.ask(ctx)
	if err == nil {
		var sealer *token.Sealer
		if sealer, err = token.NewSealer(token.SealerConfig{Keys: [][]byte{key}}); err == nil {
			k.use(sealer)
			k.tickets([][]byte{key})
		}
	}
	if !errors.Is(err, pubsub.ErrUnavailable) {
		k.answered.Store(true)
	}
	return err
}

// ready is nil once the broker has answered, be it that there will be no key: who connects before gets no
// resume token.
func (k *resumeKey) ready() error {
	if !k.answered.Load() {
		return errors.New("no resume key yet")
	}
	return nil
}
