package pubsub

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// formatNumber is that of the keys and envelopes that this package writes. Hubs of one format may run side by side.
const formatNumber = "1"

// ErrFormat: Redis holds keys of another format under the same prefix. Neither hub would understand the other.
var ErrFormat = errors.New("redis holds keys of another format")

// formatEvery is the time between two readings of the format: FLUSHALL removes it with all else.
const formatEvery = 10 * time.Second

// keepFormat says in Redis which format its keys have, and is an ErrFormat if they have another one at the start. A
// broker whose keys' format changes while it runs is not ready until it is as it was.
func (r *Redis) keepFormat(ctx context.Context) error {
	started := false
	for failures := 0; ; failures++ {
		err := r.claimFormat(ctx)
		wait := r.backoff(failures)
		switch {
		case errors.Is(err, ErrFormat) && !started:
			return err
		case errors.Is(err, ErrFormat):
			r.formatOK.Store(false)
			r.trouble.Error().Func(Because(err)).Msg("another hub has changed the format of the data in redis")
		case err == nil:
			started = true
			r.formatOK.Store(true)
			failures, wait = 0, formatEvery
		case ctx.Err() == nil && failures > 3:
			r.trouble.Warn().Func(Because(err)).Msg("the format of the data in redis can't be read")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

func (r *Redis) claimFormat(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, ioTimeout)
	defer cancel()
	l := r.layout.Load()
	if l == nil {
		return errNobody
	}
	m := r.masterAt(l.format)
	switch {
	case m == nil && l.format == "":
		return errNobody
	case m == nil: // a master that has the key's slot, and none of a partition
		m = r.newMaster(l.format)
		defer m.close()
	}
	key := r.names.format()
	found, err := m.pub.Get(ctx, key).Result()
	if errors.Is(err, redis.Nil) {
		pipe := m.pub.Pipeline()
		pipe.Do(ctx, "set", key, formatNumber, "nx")
		read := pipe.Get(ctx, key)
		if err := exec(ctx, pipe); err != nil {
			return err
		}
		found, err = read.Result()
	}
	if err != nil {
		return err
	}
	return r.judgeFormat(found)
}

// judgeFormat is an ErrFormat unless found is the format of this package.
func (r *Redis) judgeFormat(found string) error {
	if found != formatNumber {
		return fmt.Errorf("%w: %s is %q, and this hub writes %s; another --redis-prefix keeps them apart", ErrFormat, r.names.format(), clip(found), formatNumber)
	}
	return nil
}
