package pubsub

import (
	"cmp"
	"context"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// discoverEvery is the time between two discoveries of the masters, if no trigger calls for one before;
	// discoverPause is the least time between two.
	discoverEvery = 2 * time.Second
	discoverPause = 50 * time.Millisecond
	// askTimeout is how long a sentinel or node has to answer.
	askTimeout = time.Second
)

// keepDiscovering calls discover at once, then every discoverEvery and at each trigger, until ctx ends. discover reports
// whether it found out.
func keepDiscovering(ctx context.Context, t *triggers, discover func(why trigger) bool) error {
	tick := time.NewTicker(discoverEvery)
	defer tick.Stop()
	for why := atStart; ; {
		end := t.begin()
		end(discover(why))
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(discoverPause):
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			why = inTime
		case <-t.work:
			why = t.why()
		}
	}
}

// sentinels are the topology of a master that fails over: who it is, Redis Sentinels say (Redis documentation,
// "Guidelines for Redis clients with support for Redis Sentinel").
type sentinels struct {
	r    *Redis
	name string // of the master
	list []*redis.SentinelClient
	// asking are the questions that are not answered yet. Nobody waits for them but close.
	asking sync.WaitGroup
}

func (r *Redis) newSentinels() topology {
	s := &sentinels{r: r, name: r.address.Master}
	for _, addr := range r.address.Hosts {
		opt := *r.opt
		opt.Addr, opt.DB = addr, 0
		opt.Username, opt.Password = r.address.SentinelUser, r.address.SentinelPassword
		opt.DialTimeout, opt.ReadTimeout, opt.WriteTimeout = askTimeout, askTimeout, askTimeout
		opt.PoolSize = 1 // for questions: go-redis keeps what it dialed for one that is over, as many as the pool has room for
		opt.Dialer = dialWith(opt.TLSConfig)
		s.list = append(s.list, redis.NewSentinelClient(&opt))
	}
	return s
}

// watch implements topology.
func (s *sentinels) watch(ctx context.Context, t *triggers, report func(layout, trigger)) error {
	var running sync.WaitGroup
	for _, sentinel := range s.list {
		running.Go(func() { s.listen(ctx, sentinel, t) })
	}
	defer func() {
		running.Wait()
		s.close()
	}()
	return keepDiscovering(ctx, t, func(why trigger) bool {
		addr, err := s.master(ctx)
		if addr != "" {
			report(single{addr}.layout(), why)
		} else if ctx.Err() == nil {
			s.r.trouble.Warn().Func(Because(err)).Str("master", s.name).Int("sentinels", len(s.list)).Msg("no majority of the sentinels names a master")
		}
		return addr != ""
	})
}

func (s *sentinels) close() {
	for _, sentinel := range s.list {
		_ = sentinel.Close()
	}
	s.asking.Wait()
}

// switchMaster is the channel on which a sentinel says that there is another master.
const switchMaster = "+switch-master"

// listen pulls when a sentinel says that the master is another one.
func (s *sentinels) listen(ctx context.Context, sentinel *redis.SentinelClient, t *triggers) {
	heard := sentinel.Subscribe(ctx, switchMaster)
	defer heard.Close()
	for {
		select {
		case <-ctx.Done():
			return
		case message := <-heard.Channel():
			if message == nil {
				return
			}
			if strings.HasPrefix(message.Payload, s.name+" ") {
				t.pull(onSwitch)
			}
		}
	}
}

// master is whom more than half of the sentinels name, "" if there is none such. A few that were cut off with the
// old one are believed nothing. err is why one did not answer, if that is so.
func (s *sentinels) master(ctx context.Context) (addr string, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	type vote struct {
		addr string
		err  error
	}
	votes := make(chan vote, len(s.list))
	for _, sentinel := range s.list {
		s.asking.Go(func() {
			answer, err := sentinel.GetMasterAddrByName(ctx, s.name).Result()
			if err != nil || len(answer) != 2 {
				votes <- vote{err: err}
				return
			}
			votes <- vote{addr: net.JoinHostPort(answer[0], answer[1])}
		})
	}
	named := map[string]int{}
	for range s.list {
		v := <-votes
		if v.addr == "" {
			err = cmp.Or(v.err, err)
		} else if named[v.addr]++; 2*named[v.addr] > len(s.list) {
			return v.addr, nil // nobody who is slow, or gone, is waited for
		}
	}
	return "", err
}
