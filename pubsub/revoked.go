package pubsub

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

//go:embed restore.lua
var restoreSource string

var restoreScript = redis.NewScript(restoreSource)

const (
	// revokedPage is how many revocations are read at once: about a millisecond of the server's time.
	revokedPage = 1000
	// restoredPage is how many are written back at once.
	restoredPage = 500
	// restorePause is the wait before the next try to write back.
	restorePause = 10 * time.Second
)

// revokedList is how far this node is with the list of revocations. Any goroutine may use it.
type revokedList struct {
	// unread is why the list was not read yet on the connection of now; nil once it was.
	unread atomic.Pointer[string]
	// server and mark are those of the list that was last looked through for revocations that are missing:
	// the server's name and the score of wholeMark. Only keepRevoked sets them.
	server string
	mark   atomic.Uint64
}

func (l *revokedList) setUnread(why string) { l.unread.Store(&why) }

// err is nil once all revocations are known.
func (l *revokedList) err() error {
	if why := l.unread.Load(); why != nil {
		return fmt.Errorf("%w: revocations are not known: %s", ErrUnavailable, *why)
	}
	return nil
}

// keepRevoked reads the list of revocations, page by page, and writes back those that it has lost: after it
// connected, and when it finds, or is told, that the list is not whole. It comes after the subscription, so none
// is missed in between.
func (s *subscriber) keepRevoked(ctx context.Context) error {
	if s.cfg.OnRevoked == nil {
		s.list.unread.Store(nil)
		<-ctx.Done()
		return ctx.Err()
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-s.ready:
	}
	for failures := 0; ; {
		err := s.syncRevoked(ctx)
		if err == nil {
			failures = 0
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-s.incomplete:
			}
			continue
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		s.trouble.Error().Err(err).Msg("revocations can't be read or written back; a hub that does not know them is not ready")
		wait := s.backoff(failures)
		if s.list.unread.Load() != nil {
			s.list.setUnread(err.Error())
		} else {
			wait = restorePause // it knows them all: others miss some
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
		failures++
	}
}

// syncRevoked reads the list if that was not done on this connection, and writes back what is missing if another
// node asks for it, or if the list is not whole, or on another server than last time.
func (s *subscriber) syncRevoked(ctx context.Context) error {
	listed := map[uint64]struct{}{}
	if s.list.unread.Load() != nil {
		if err := s.readRevoked(ctx, listed); err != nil {
			return err
		}
	}
	mark, err := s.mark(ctx)
	if err != nil {
		return err
	}
	if mark == 0 && s.list.unread.Load() != nil {
		if err := s.askOthers(ctx); err != nil {
			return err
		}
	}
	s.list.unread.Store(nil)
	if s.cfg.HeldRevocations == nil {
		return nil
	}
	server, err := s.whoIsIt(ctx)
	if err != nil {
		return err
	}
	had := s.list.mark.Load()
	first := had == 0 && mark != 0 // this node knows no more than what it has just read
	same := had == mark && s.list.server == server
	if asked := s.asked.Swap(false); asked || !first && !same {
		if mark, err = s.restoreRevoked(ctx, listed); err != nil {
			s.asked.Store(true) // until it can be done
			return err
		}
	}
	s.list.server = server
	s.list.mark.Store(mark)
	return nil
}

// whoIsIt is the name of the server, "" if it does not tell.
func (s *subscriber) whoIsIt(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, ioTimeout)
	defer cancel()
	conn := s.pub.Conn()
	defer conn.Close()
	known, err := s.identify(ctx, conn)
	if err != nil {
		return "", err
	}
	return known.server, nil
}

// readRevoked gives OnRevoked all revocations that hold, and notes them in listed.
func (s *subscriber) readRevoked(ctx context.Context, listed map[uint64]struct{}) error {
	for cursor := uint64(0); ; {
		page, next, err := s.revokedPage(ctx, cursor)
		if err != nil {
			return fmt.Errorf("read revocations: %w", err)
		}
		var list []Revocation
		for i := 0; i+1 < len(page); i += 2 { // member, score
			if page[i] == wholeMark {
				continue
			}
			listed[textHash(page[i])] = struct{}{}
			if v, ok := s.parseRevocation(page[i], revokedKey); ok && v.Until.After(time.Now()) {
				list = append(list, v)
			}
		}
		if len(list) > 0 {
			s.cfg.OnRevoked(list)
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}

func (s *subscriber) revokedPage(ctx context.Context, cursor uint64) (page []string, next uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, ioTimeout)
	defer cancel()
	return s.pub.ZScan(ctx, revokedKey, cursor, "", revokedPage).Result()
}

// textHash stands for a revocation's text.
func textHash(text string) uint64 { return maphash.String(tableSeed, text) }

// mark is the score of the list's mark, 0 if it has none.
func (s *subscriber) mark(ctx context.Context) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, ioTimeout)
	defer cancel()
	mark, err := s.pub.ZScore(ctx, revokedKey, wholeMark).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return 0, fmt.Errorf("read revocations: %w", err)
	}
	return uint64(mark), nil
}

// askOthers has other nodes write back what they know, and waits until one has, or for a probe's time: what they
// write back later is heard, too.
func (s *subscriber) askOthers(ctx context.Context) error {
	asking, cancel := context.WithTimeout(ctx, s.cfg.ProbeEvery)
	defer cancel()
	heard, err := s.pub.Publish(asking, everyNode, string(askMark)+s.cfg.Node).Result()
	if err != nil {
		return fmt.Errorf("ask for revocations: %w", err)
	}
	if heard < 2 {
		return nil // nobody else is here
	}
	look := time.NewTicker(max(time.Millisecond, s.cfg.ProbeEvery/100))
	defer look.Stop()
	for {
		if mark, err := s.mark(ctx); err != nil || mark != 0 {
			return err
		}
		select {
		case <-asking.Done():
			return ctx.Err()
		case <-look.C:
		}
	}
}

// restoreRevoked writes those back that this node holds and that are not listed, and marks the list as whole.
func (s *subscriber) restoreRevoked(ctx context.Context, listed map[uint64]struct{}) (mark uint64, err error) {
	if err := s.refusal.err(); err != nil {
		return 0, err
	}
	if len(listed) == 0 {
		if err := s.readRevoked(ctx, listed); err != nil {
			return 0, err
		}
	}
	head := []any{everyNode, string(revokedMark)}
	page, restored := head, 0
	write := func() error {
		ctx, cancel := context.WithTimeout(ctx, ioTimeout)
		defer cancel()
		if err := restoreScript.Run(ctx, s.pub, []string{revokedKey}, page...).Err(); err != nil {
			return fmt.Errorf("write revocations back: %w", err)
		}
		page = head[:len(head):len(head)]
		return nil
	}
	for v := range s.cfg.HeldRevocations {
		text, err := json.Marshal(v)
		if err != nil || !v.Until.After(time.Now()) {
			continue
		}
		if _, there := listed[textHash(string(text))]; there {
			continue
		}
		restored++
		page = append(page, v.Until.Unix(), text)
		if len(page) >= len(head)+2*restoredPage {
			if err := write(); err != nil {
				return 0, err
			}
		}
	}
	if len(page) > len(head) {
		if err := write(); err != nil {
			return 0, err
		}
	}
	if restored > 0 {
		s.cfg.Log.Warn().Int("revocations", restored).Msg("redis lacked revocations; they were written back")
	}
	fresh := redis.Z{Score: leastMark + float64(rand.Uint64N(leastMark)), Member: wholeMark}
	if err := s.pub.ZAddNX(ctx, revokedKey, fresh).Err(); err != nil {
		return 0, fmt.Errorf("write revocations back: %w", err)
	}
	return s.mark(ctx)
}
