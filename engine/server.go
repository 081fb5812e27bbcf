package engine

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"wshub/engine/proxy"
)

// Server accepts WebSocket connections and runs them on its loops.
type Server struct {
	// Fixed at birth.
	cfg      Config
	handler  Handler
	log      zerolog.Logger
	addr     net.Addr
	pages    map[string]*page // by path
	acceptor *acceptor
	poller   *poller
	loops    []*Loop
	// addressed: the clients' addresses are kept, because they are not their sockets', or are counted.
	addressed bool
	addresses *addresses // nil where they are not counted
	clock     *clock
	ending    chan struct{} // closed when no more connections are accepted
	endOnce   sync.Once

	// Shared.
	room     *room
	tlsCPU   chan struct{}  // holds one for each TLS handshake that computes
	shaking  sync.WaitGroup // for the goroutines of TLS handshakes
	accepted atomic.Uint64
	dropped  Tally[string]
}

// New checks cfg and opens the listener. Nobody is let in before Run.
func New(cfg Config, handler Handler) (*Server, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	pages, err := newPages(cfg.Pages)
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
		pages:    pages,
		acceptor: acceptor,
		clock:    newClock(),
		room:     newRoom(cfg.MaxConnections),
		tlsCPU:   make(chan struct{}, tlsComputing()),
		ending:   make(chan struct{}),

		addresses: newAddresses(cfg.MaxPerAddress, cfg.AddressRate),
	}
	s.addressed = s.addresses != nil || cfg.ClientAddress != proxy.Socket
	for i := range cfg.Pollers {
		s.loops = append(s.loops, newLoop(s, i))
	}
	s.poller = newPoller(s.loops, cfg.Log, s.closed)
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
	if err := s.poller.start(); err != nil {
		s.acceptor.close()
		return err
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

// stop cuts every connection and ends the poller.
func (s *Server) stop() {
	for _, l := range s.loops {
		l.end()
	}
	s.shaking.Wait()
	s.poller.stop()
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
