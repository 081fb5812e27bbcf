package pubsub

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

//go:embed restore.lua
var restoreSource string

//go:embed finish.lua
var finishSource string

var (
	restoreScript = redis.NewScript(restoreSource)
	finishScript  = redis.NewScript(finishSource)
)

const (
	// revokedPage is how many revocations are read at once: about a millisecond of the server's time.
	revokedPage = 1000
	// restoredPage is how many are written back at once.
	restoredPage = 500
	// restoreEvery is the time between two such pages: what is written back goes to all nodes, in between
	// their events.
	restoreEvery = 10 * time.Millisecond
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
		wait := s.backoff(failures)
		switch {
		case errors.Is(err, errListLost):
		case s.list.unread.Load() != nil:
			s.trouble.Error().Err(err).Msg("revocations can't be read: the hub is not ready")
			s.list.setUnread(err.Error())
		default:
			s.trouble.Error().Err(err).Msg("revocations that redis lacks can't be written back: other hubs may not know them")
			wait = restorePause
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
	if s.list.unread.Load() != nil {
		if err := s.readRevoked(ctx, nil); err != nil {
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
		if mark, err = s.restoreRevoked(ctx); err != nil {
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

// readRevoked gives OnRevoked all revocations that hold, and notes them in listed unless that is nil.
func (s *subscriber) readRevoked(ctx context.Context, listed map[uint64]struct{}) error {
	for cursor := uint64(0); ; {
		page, next, err := s.revokedPage(ctx, cursor)
		if err != nil {
			return fmt.Errorf("read revocations: %w", err)
		}
		var list []Revocation
		for i := 0; i+1 < len(page); i += 2 { // member, score
			if !strings.HasPrefix(page[i], "{") {
				continue // the mark, or what a node left there that looks through the list
			}
			if listed != nil {
				listed[textHash(page[i])] = struct{}{}
			}
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

// errListLost: the list was lost while a node looked through it.
var errListLost = errors.New("the list of revocations was lost meanwhile")

// restoreRevoked writes those back that this node holds and that the list lacks, and marks the list as whole.
func (s *subscriber) restoreRevoked(ctx context.Context) (mark uint64, err error) {
	if err := s.refusal.err(); err != nil {
		return 0, err
	}
	// What is left here is gone if the list is lost from now on.
	token := fmt.Sprintf("%s %s %x", wholeMark, s.cfg.Node, rand.Uint64())
	if err := s.leaveToken(ctx, token); err != nil {
		return 0, err
	}
	listed := map[uint64]struct{}{}
	if err := s.readRevoked(ctx, listed); err != nil {
		return 0, err
	}
	page, restored := []any(nil), 0
	for v := range s.cfg.HeldRevocations {
		text, err := json.Marshal(v)
		if err != nil || !v.Until.After(time.Now()) {
			continue
		}
		if _, there := listed[textHash(string(text))]; there {
			continue
		}
		restored++
		if page = append(page, v.Until.Unix(), text); len(page) < 2*restoredPage {
			continue
		}
		if err := s.writeBack(ctx, page); err != nil {
			return 0, err
		}
		page = page[:0]
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(restoreEvery):
		}
	}
	if len(page) > 0 {
		if err := s.writeBack(ctx, page); err != nil {
			return 0, err
		}
	}
	if restored > 0 {
		s.cfg.Log.Warn().Int("revocations", restored).Msg("redis lacked revocations; they were written back")
	}
	return s.markWhole(ctx, token)
}

// leaveToken puts token into the list, for an hour at most.
func (s *subscriber) leaveToken(ctx context.Context, token string) error {
	ctx, cancel := context.WithTimeout(ctx, ioTimeout)
	defer cancel()
	until := redis.Z{Score: float64(time.Now().Add(time.Hour).Unix()), Member: token}
	if err := s.pub.ZAdd(ctx, revokedKey, until).Err(); err != nil {
		return fmt.Errorf("write revocations back: %w", err)
	}
	return nil
}

// writeBack writes a page, of times and texts by turns.
func (s *subscriber) writeBack(ctx context.Context, page []any) error {
	ctx, cancel := context.WithTimeout(ctx, ioTimeout)
	defer cancel()
	args := append([]any{everyNode, string(revokedMark)}, page...)
	if err := restoreScript.Run(ctx, s.pub, []string{revokedKey}, args...).Err(); err != nil {
		return fmt.Errorf("write revocations back: %w", err)
	}
	return nil
}

// markWhole marks the list if token is still in it.
func (s *subscriber) markWhole(ctx context.Context, token string) (mark uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, ioTimeout)
	defer cancel()
	fresh := leastMark + rand.Uint64N(leastMark)
	text, err := finishScript.Run(ctx, s.pub, []string{revokedKey}, token, wholeMark, fresh).Text()
	switch {
	case err != nil:
		return 0, fmt.Errorf("write revocations back: %w", err)
	case text == "":
		return 0, errListLost
	}
	score, err := strconv.ParseFloat(text, 64)
	return uint64(score), err
}
