package engine

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/lesismal/nbio"
	"github.com/rs/zerolog"
)

// Server accepts WebSocket connections and runs them on its loops.
type Server struct {
	// Fixed at birth.
	cfg      Config
	handler  Handler
	log      zerolog.Logger
	addr     net.Addr
	acceptor *acceptor
	nb       *nbio.Engine
	loops    []*Loop
	clock    *clock
	ending   chan struct{} // closed when no more connections are accepted
	endOnce  sync.Once

	// registering is held while a descriptor is registered with nbio, and while nbio may close one
	// in the middle of a batch. Guarded by it:
	registering sync.Mutex
	stale       []*Loop // loops in whose current batch nbio has closed a descriptor

	// Shared.
	room     *room
	accepted atomic.Uint64
	dropped  Tally[string]
}

// New checks cfg and opens the listener. Nobody is let in before Run.
func New(cfg Config, handler Handler) (*Server, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	ln, err := listen(context.Background(), cfg.Addr, cfg.SendBuffer)
	if err != nil {
		return nil, err
	}
	acceptor, err := newAcceptor(ln)
	if err != nil {
		return nil, err
	}
	s := &Server{
		cfg:      cfg,
		handler:  handler,
		log:      cfg.Log.With().Str("part", "engine").Logger(),
		addr:     ln.Addr(),
		acceptor: acceptor,
		clock:    newClock(),
		room:     newRoom(cfg.MaxConnections),
		ending:   make(chan struct{}),
	}
	quietNbio(cfg.Log)
	for i := range cfg.Pollers {
		s.loops = append(s.loops, newLoop(s, i))
	}
	s.nb = nbio.NewEngine(nbio.Config{
		Name:               "wshub",
		NPoller:            cfg.Pollers,
		EpollMod:           nbio.EPOLLLT,
		MaxWriteBufferSize: 0,  // no bound: ours come first, and close in the right place
		ReadBufferSize:     16, // the loops bring their own
	})
	s.nb.OnClose(s.onClose)
	s.nb.OnRead(s.onRead)
	s.nb.OnWrittenSize(onWrittenSize)
	return s, nil
}

// Addr is the address that the server listens on.
func (s *Server) Addr() net.Addr { return s.addr }

// Loops are the server's loops, fixed from New on. Jobs posted before Run wait for it.
func (s *Server) Loops() []*Loop { return s.loops }

// Config is the configuration with its defaults filled in.
func (s *Server) Config() Config { return s.cfg }

// Run serves until ctx ends. Then it cuts what connections are left, and returns when all its goroutines
// have. Call it once.
func (s *Server) Run(ctx context.Context) error {
	if err := s.nb.Start(); err != nil {
		s.acceptor.close()
		return fmt.Errorf("start the pollers: %w", err)
	}
	if err := s.connectWakeUps(); err != nil {
		s.acceptor.close()
		s.nb.Stop()
		return fmt.Errorf("connect the loops: %w", err)
	}
	for _, l := range s.loops {
		l.settle() // nbio can't be stopped before its pollers have begun
	}
	var children sync.WaitGroup
	clockEnd := make(chan struct{})
	children.Go(func() { s.clock.run(s.loops, clockEnd) })
	acceptorEnd := make(chan struct{})
	go func() { defer close(acceptorEnd); s.accept() }()

	<-ctx.Done()
	s.StopAccepting()
	<-acceptorEnd
	close(clockEnd)
	children.Wait()
	s.stop()
	return nil
}

// StopAccepting closes the listener; open connections go on. May be called more than once.
func (s *Server) StopAccepting() {
	s.endOnce.Do(func() {
		close(s.ending)
		s.acceptor.close()
	})
}

// stop cuts every connection and ends nbio.
func (s *Server) stop() {
	for _, l := range s.loops {
		l.end()
	}
	s.nb.Stop()
	for _, l := range s.loops {
		_ = syscall.Close(l.wakeFD)
	}
}

// Live is nil if every loop has turned within the last limit, else it names one that has not.
func (s *Server) Live(limit time.Duration) error {
	for _, l := range s.loops {
		if age := s.clock.age() - time.Duration(l.lastTurn.Load()); age > limit {
			return fmt.Errorf("loop %d has not turned for %v", l.Index, age.Round(time.Millisecond))
		}
	}
	return nil
}

// onRead runs on the poller's goroutine, which is the loop's.
func (s *Server) onRead(nb *nbio.Conn) {
	if l, ok := nb.Session().(*Loop); ok {
		var b [8]byte
		_, _ = nb.Read(b[:])
		l.look()
		l.turn()
		l.yield()
		return
	}
	l := s.loops[nb.Hash()%len(s.loops)]
	l.look()
	if c := l.conn(nb); c != nil {
		c.readable()
	}
	if l.Spent() {
		l.wake() // for a turn, which begins the account anew
	}
	l.yield()
}
