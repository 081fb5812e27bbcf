package pubsub

import (
	"cmp"
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
	// work wakes keepRevoked: others reach this node from now on, or the list is not whole, or asked is true.
	work chan struct{}
	// asked is true since another node missed revocations.
	asked atomic.Bool
	// unread is why the list was not read yet since others reach this node; nil once it was.
	unread atomic.Pointer[string]
	// server and mark are those of the list that was last searched for missing revocations:
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

// keepRevoked reads the list of revocations, page by page, and writes back those that it has lost: after others have
// come to reach this node, and when it finds, or is told, that the list is not whole. So none is missed in between.
func (r *Redis) keepRevoked(ctx context.Context) error {
	if r.cfg.OnRevoked == nil {
		for {
			r.list.unread.Store(nil)
			select {
			case <-ctx.Done():
				return nil
			case <-r.list.work:
			}
		}
	}
	failures := 0
	var again <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.list.work:
		case <-again:
		}
		err := r.syncRevoked(ctx)
		if err == nil {
			failures, again = 0, nil
			continue
		}
		if ctx.Err() != nil {
			return nil
		}
		if m, _ := r.route(common); m != nil && isPermission(err) {
			err = cmp.Or(m.denial(), err)
		}
		wait := r.backoff(failures)
		switch {
		case errors.Is(err, errListLost):
		case r.list.unread.Load() != nil:
			r.trouble.Error().Func(Because(err)).Msg("revocations can't be read: the hub is not ready")
			r.list.setUnread(err.Error())
		default:
			r.trouble.Error().Func(Because(err)).Msg("revocations that redis lacks can't be written back: other hubs may not know them")
			wait = restorePause
		}
		again = time.After(wait)
		failures++
	}
}

// syncRevoked reads the list if that was not done since others reach this node, and writes back what is missing if
// another node asks for it, or if the list is not whole, or on another server than last time.
func (r *Redis) syncRevoked(ctx context.Context) error {
	unread := r.list.unread.Load()
	if unread != nil {
		if err := r.readRevoked(ctx, nil); err != nil {
			return err
		}
	}
	mark, err := r.mark(ctx)
	if err != nil {
		return err
	}
	if mark == 0 && unread != nil {
		if err := r.askOthers(ctx); err != nil {
			return err
		}
	}
	r.list.unread.CompareAndSwap(unread, nil) // unless others can't reach this node any more
	if r.cfg.HeldRevocations == nil {
		return nil
	}
	server, err := r.whoIsIt(ctx)
	if err != nil {
		return err
	}
	had := r.list.mark.Load()
	first := had == 0 && mark != 0 // this node knows no more than what it has just read
	same := had == mark && r.list.server == server
	if asked := r.list.asked.Swap(false); asked || !first && !same {
		if mark, err = r.restoreRevoked(ctx); err != nil {
			r.list.asked.Store(true) // until it can be done
			return err
		}
	}
	r.list.server = server
	r.list.mark.Store(mark)
	return nil
}

// whoIsIt is the name of the server, "" if it does not tell.
func (r *Redis) whoIsIt(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, ioTimeout)
	defer cancel()
	m, err := r.route(common)
	if err != nil {
		return "", err
	}
	conn := m.pub.Conn()
	defer conn.Close()
	known, err := r.identify(ctx, m, conn)
	if err != nil {
		return "", err
	}
	return known.server, nil
}

// readRevoked gives OnRevoked all revocations that hold, and notes them in listed unless that is nil.
func (r *Redis) readRevoked(ctx context.Context, listed map[uint64]struct{}) error {
	for cursor := uint64(0); ; {
		page, next, err := r.revokedPage(ctx, cursor)
		if err != nil {
			return fmt.Errorf("read revocations: %w", err)
		}
		var list []Revocation
		for i := 0; i+1 < len(page); i += 2 { // member, score
			if !strings.HasPrefix(page[i], "{") {
				continue // the mark, or the token of a node that goes through the list
			}
			if listed != nil {
				listed[textHash(page[i])] = struct{}{}
			}
			if v, ok := r.parseRevocation(page[i], r.names.revoked()); ok && v.Until.After(time.Now()) {
				list = append(list, v)
			}
		}
		if len(list) > 0 {
			r.cfg.OnRevoked(list)
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}

func (r *Redis) revokedPage(ctx context.Context, cursor uint64) (page []string, next uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, ioTimeout)
	defer cancel()
	reply := r.command(ctx, common, "zscan", r.names.revoked(), cursor, "count", revokedPage)
	list, err := reply.Slice()
	if err != nil {
		return nil, 0, err
	}
	next, _ = strconv.ParseUint(str(list, 0), 10, 64)
	members, _ := at(list, 1).([]any)
	for i := range members {
		page = append(page, str(members, i))
	}
	return page, next, nil
}

// textHash stands for a revocation's text.
func textHash(text string) uint64 { return maphash.String(tableSeed, text) }

// mark is the score of the list's mark, 0 if it has none.
func (r *Redis) mark(ctx context.Context) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, ioTimeout)
	defer cancel()
	mark, err := r.command(ctx, common, "zscore", r.names.revoked(), wholeMark).Float64()
	if err != nil && !errors.Is(err, redis.Nil) {
		return 0, fmt.Errorf("read revocations: %w", err)
	}
	return uint64(mark), nil
}

// askOthers has other nodes write back what they know, and waits until one has, or for a probe's time: what they
// write back later is heard, too.
func (r *Redis) askOthers(ctx context.Context) error {
	asking, cancel := context.WithTimeout(ctx, r.cfg.ProbeEvery)
	defer cancel()
	heard, err := r.notifyAll(asking, []byte(string(askMark)+r.cfg.Node), true)
	if err != nil {
		return fmt.Errorf("ask for revocations: %w", err)
	}
	if heard < 2 {
		return nil // nobody else is here
	}
	poll := time.NewTicker(max(time.Millisecond, r.cfg.ProbeEvery/100))
	defer poll.Stop()
	for {
		if mark, err := r.mark(ctx); err != nil || mark != 0 {
			return err
		}
		select {
		case <-asking.Done():
			return ctx.Err()
		case <-poll.C:
		}
	}
}

// errListLost: the list was lost while a node went through it.
var errListLost = errors.New("the list of revocations was lost meanwhile")

// restoreRevoked writes those back that this node holds and that the list lacks, and marks the list as whole.
func (r *Redis) restoreRevoked(ctx context.Context) (mark uint64, err error) {
	if m, err := r.route(common); err != nil {
		return 0, err
	} else if err := m.refusal.err(m.addr); err != nil {
		return 0, err
	}
	// The mark that is left here is gone if the list is lost from now on.
	token := fmt.Sprintf("%s %s %x", wholeMark, r.cfg.Node, rand.Uint64())
	if err := r.leaveToken(ctx, token); err != nil {
		return 0, err
	}
	listed := map[uint64]struct{}{}
	if err := r.readRevoked(ctx, listed); err != nil {
		return 0, err
	}
	page, restored := []any(nil), 0
	for v := range r.cfg.HeldRevocations {
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
		if err := r.writeBack(ctx, page); err != nil {
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
		if err := r.writeBack(ctx, page); err != nil {
			return 0, err
		}
	}
	if restored > 0 {
		r.cfg.Log.Warn().Int("revocations", restored).Msg("redis lacked revocations; they were written back")
	}
	return r.markWhole(ctx, token)
}

// leaveToken puts token into the list, for an hour at most.
func (r *Redis) leaveToken(ctx context.Context, token string) error {
	ctx, cancel := context.WithTimeout(ctx, ioTimeout)
	defer cancel()
	until := time.Now().Add(time.Hour).Unix()
	if err := r.command(ctx, common, "zadd", r.names.revoked(), until, token).Err(); err != nil {
		return fmt.Errorf("write revocations back: %w", err)
	}
	return nil
}

// script runs a script on the list, by its hash where the server knows it.
func (r *Redis) script(ctx context.Context, script *redis.Script, args ...any) *redis.Cmd {
	m, err := r.route(common)
	if err != nil {
		failed := redis.NewCmd(ctx)
		failed.SetErr(err)
		return failed
	}
	reply := script.Run(ctx, m.pub, []string{r.names.revoked()}, args...)
	if isAstray(reply.Err()) {
		r.triggers.pull(onMoved)
	}
	return reply
}

// writeBack writes a page, of times and texts by turns.
func (r *Redis) writeBack(ctx context.Context, page []any) error {
	ctx, cancel := context.WithTimeout(ctx, ioTimeout)
	defer cancel()
	missing, err := r.script(ctx, restoreScript, page...).StringSlice()
	for _, text := range missing {
		if err == nil {
			_, err = r.notifyAll(ctx, []byte(string(writtenMark)+text), false)
		}
	}
	if err != nil {
		return fmt.Errorf("write revocations back: %w", err)
	}
	return nil
}

// markWhole marks the list if token is still in it.
func (r *Redis) markWhole(ctx context.Context, token string) (mark uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, ioTimeout)
	defer cancel()
	fresh := leastMark + rand.Uint64N(leastMark)
	text, err := r.script(ctx, finishScript, token, wholeMark, fresh).Text()
	switch {
	case err != nil:
		return 0, fmt.Errorf("write revocations back: %w", err)
	case text == "":
		return 0, errListLost
	}
	score, err := strconv.ParseFloat(text, 64)
	return uint64(score), err
}
