package redistest

import (
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Sharing has the tests of m share servers: the server that Start gave to a test is emptied at the end of the test and
// serves the next one that needs a server, for a reset takes 2 ms and a start 70 ms of a processor. At any time one
// test has a server. One that was killed, frozen, made a replica or given one, say, serves no other test.
// Give its result to goleak.VerifyTestMain in the place of m: the servers end before it looks for goroutines.
func Sharing(m *testing.M) Tests { return Tests{m} }

// Tests are all tests of a package, see Sharing.
type Tests struct{ m *testing.M }

// Run runs the tests, then ends their servers. It returns the exit code.
func (t Tests) Run() int {
	shared.on.Store(true)
	defer shared.end()
	return t.m.Run()
}

// shared are the servers of this process that tests share.
var shared pool

type pool struct {
	on   atomic.Bool
	mu   sync.Mutex
	idle []*Server
}

// start gives t a server until t ends: an idle one, or a new one.
func (p *pool) start(t testing.TB) *Server {
	t.Helper()
	if s := p.take(); s != nil {
		s.t = t
		t.Cleanup(func() { p.give(s) })
		return s
	}
	needProgram(t)
	dir, err := os.MkdirTemp("", "redistest")
	if err != nil {
		t.Fatal(err)
	}
	s := lastingServer(t, dir)
	t.Cleanup(func() { p.give(s) })
	if err := s.start(); err != nil {
		t.Fatal(err)
	}
	s.settings = s.readSettings()
	return s
}

func (p *pool) take() *Server {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.idle) == 0 {
		return nil
	}
	s := p.idle[len(p.idle)-1]
	p.idle = p.idle[:len(p.idle)-1]
	return s
}

// give keeps s for another test where s can be reset, and ends it otherwise.
func (p *pool) give(s *Server) {
	if s.settings == nil || s.used.Load() || !s.reset() {
		s.remove()
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle = append(p.idle, s)
}

// end ends the idle servers. No test has another one any more.
func (p *pool) end() {
	p.on.Store(false)
	for s := p.take(); s != nil; s = p.take() {
		s.remove()
	}
}

// remove ends the server and removes its directory.
func (s *Server) remove() {
	s.Kill()
	_ = os.RemoveAll(s.dir)
}

// reset makes the server as a new one. It is false where that failed: a client of the test stays, the server has
// written files, or it does not take its first settings.
func (s *Server) reset() bool {
	for late := time.Now().Add(time.Second); !s.isAlone(); time.Sleep(time.Millisecond) {
		if time.Now().After(late) {
			return false
		}
	}
	for _, command := range []string{
		"client unpause", "flushall", "script flush", "config resetstat", "acl log reset", "slowlog reset",
	} {
		if _, err := s.ask(wait, strings.Fields(command)...); err != nil {
			return false
		}
	}
	files, err := os.ReadDir(s.dir)
	return err == nil && len(files) == 0 && s.isMaster() && s.restore()
}

// isAlone is true when nobody is connected but the one that asks.
func (s *Server) isAlone() bool {
	clients, err := s.ask(wait, "client", "list")
	list, _ := clients.(string)
	return err == nil && strings.Count(list, "\n") == 1
}
