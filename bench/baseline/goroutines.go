package baseline

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"
)

// crowd is the goroutine-per-connection server.
type crowd struct {
	cfg   Config
	redis *redis.Client

	mu     sync.Mutex
	topics map[string]map[*member]struct{}
}

type member struct{ queue chan []byte }

// queueSize is how many events a slow client may be behind before it is closed.
const queueSize = 1024

// Goroutines serves until ctx ends.
func Goroutines(ctx context.Context, cfg Config) error {
	c := &crowd{cfg: cfg, redis: redis.NewClient(cfg.Redis), topics: map[string]map[*member]struct{}{}}
	defer func() { _ = c.redis.Close() }() // everything was answered, or nobody waits for it
	subscription := c.redis.PSubscribe(ctx, topicChannel+"*")
	if err := subscription.Subscribe(ctx, cfg.Broadcast, userChannel); err != nil {
		return errors.Join(err, subscription.Close())
	}
	server := &http.Server{Handler: http.HandlerFunc(c.serve), ReadHeaderTimeout: 10 * time.Second}
	listener, err := net.Listen("tcp", cfg.Addr.String())
	if err != nil {
		return errors.Join(err, subscription.Close())
	}
	group, ctx := errgroup.WithContext(ctx)
	server.BaseContext = func(net.Listener) context.Context { return ctx }
	group.Go(func() error {
		for {
			received, err := subscription.ReceiveMessage(ctx)
			if ctx.Err() != nil {
				return nil
			} else if err != nil {
				return err
			}
			topic, event := cfg.addressed(received.Channel, received.Payload)
			c.deliver(topic, []byte(event))
		}
	})
	group.Go(func() error {
		<-ctx.Done()
		return errors.Join(server.Close(), subscription.Close()) // a blocked receive ends with its connection
	})
	group.Go(func() error {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	return group.Wait()
}

func (c *crowd) deliver(topic string, event []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for m := range c.topics[topic] {
		select {
		case m.queue <- event:
		default:
			c.leave(topic, m)
			close(m.queue)
		}
	}
}

// leave is called with mu held.
func (c *crowd) leave(topic string, m *member) {
	delete(c.topics[topic], m)
	if len(c.topics[topic]) == 0 {
		delete(c.topics, topic)
	}
}

// serve is the goroutine that writes to one client; it starts the one that reads.
func (c *crowd) serve(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return // Accept has answered
	}
	defer func() { _ = conn.CloseNow() }() // closed in due form below, where that was possible
	topics := c.cfg.topicsOf(r.URL.RawQuery)
	if len(topics) > 1 {
		topics = topics[len(topics)-1:] // one topic each is enough for what is measured here
	}
	m := &member{queue: make(chan []byte, queueSize)}
	c.mu.Lock()
	if c.topics[topics[0]] == nil {
		c.topics[topics[0]] = map[*member]struct{}{}
	}
	c.topics[topics[0]][m] = struct{}{}
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.leave(topics[0], m)
	}()
	ctx, cancel := context.WithCancel(r.Context())
	var reader sync.WaitGroup
	reader.Go(func() { c.read(ctx, conn, topics[0], cancel) })
	defer reader.Wait()
	defer cancel()
	c.write(ctx, conn, m)
}

func (c *crowd) read(ctx context.Context, conn *websocket.Conn, topic string, cancel context.CancelFunc) {
	defer cancel()
	channel := topicChannel + topic
	if topic == c.cfg.Broadcast {
		channel = topic
	}
	for {
		_, message, err := conn.Read(ctx)
		if err != nil || c.redis.Publish(ctx, channel, message).Err() != nil {
			return
		}
	}
}

func (c *crowd) write(ctx context.Context, conn *websocket.Conn, m *member) {
	heartbeat := time.NewTicker(c.cfg.Heartbeat)
	defer heartbeat.Stop()
	for {
		var err error
		select {
		case event, ok := <-m.queue:
			if !ok {
				_ = conn.Close(4008, "slow consumer") // it may not read that either
				return
			}
			err = conn.Write(ctx, websocket.MessageText, event)
		case <-heartbeat.C:
			err = conn.Ping(ctx)
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}
