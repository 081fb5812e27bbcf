package pubsub

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// ResumeKeySize is the length of a resume key in bytes: AES-256.
const ResumeKeySize = 32

// ResumeKey is the key that all instances on this server share, made by the first that asks. It works
// without Run. ErrUnavailable or ErrRefused if it can't be read or, by the first, written.
func (r *Redis) ResumeKey(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, ioTimeout)
	defer cancel()
	name := r.names.resumeKey()
	replies := r.run(ctx, []call{
		{partition: common, args: []any{"set", name, newResumeKey(), "nx"}},
		{partition: common, args: []any{"get", name}},
	})
	for _, reply := range replies {
		if err := reply.Err(); err != nil && !errors.Is(err, redis.Nil) {
			return nil, fmt.Errorf("resume key: %w: %s", readError(err), err)
		}
	}
	key, err := replies[1].Text()
	if err != nil || len(key) != ResumeKeySize {
		return nil, fmt.Errorf("resume key: %w: %s does not hold %d bytes", ErrRefused, name, ResumeKeySize)
	}
	return []byte(key), nil
}

func newResumeKey() []byte {
	key := make([]byte, ResumeKeySize)
	_, _ = rand.Read(key) // never fails
	return key
}

// ResumeKey is random and the broker's own. See Redis.ResumeKey.
func (m *Memory) ResumeKey(context.Context) ([]byte, error) { return m.resumeKey, nil }
