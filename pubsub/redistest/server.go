// Package redistest runs real servers for a test: one redis-server, one with replicas and sentinels, or a
// cluster; and proxies before them that fail on demand.
package redistest

import (
	"bufio"
	"cmp"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Required is the environment variable that, set to 1, makes a missing redis-server a failure
// instead of a skip.
const Required = "WSHUB_REQUIRE_REDIS"

// Program is the environment variable that names another server to run than redis-server: a program in PATH or a
// path, say of valkey-server.
const Program = "WSHUB_REDIS_SERVER"

func program() string { return cmp.Or(os.Getenv(Program), "redis-server") }

// patience is how long a server may take to start. One that loads nothing takes 20 ms.
const patience = 20 * time.Second

// Server is a redis-server of the test's own, on a loopback port that stays the same through Kill and
// Restart. It is killed when the test ends. Its methods fail the test on errors.
type Server struct {
	t    testing.TB
	dir  string
	port string
	args []string
	// Proxy stands before a server of a set that was started with Proxied, else it is nil. Addr, URL and CLI pass
	// it by.
	Proxy *Proxy
	// ready is a part of the line by which the server says that it accepts connections.
	ready string
	// begin tells a server that was started what no argument can say; nil for nothing.
	begin func() error
	// clock is how far the server's clock is ahead of the machine's.
	clock time.Duration
	cmd   *exec.Cmd // nil while it is killed
	gone  chan struct{}
	// used is true once the server was killed, frozen, given a clock or a replica: it serves no other test, see Sharing.
	used atomic.Bool
	// settings are those that a server that tests share began with.
	settings settings
}

// Start runs a server that keeps nothing on disk; args come behind that on its command line and may
// say otherwise. Without a redis-server in PATH the test is skipped, see Required. One without args may have served
// another test before, see Sharing; it is empty and nobody is connected.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	if len(args) == 0 && shared.on.Load() {
		return shared.start(t)
	}
	s := newServer(t, args...)
	s.Restart()
	return s
}

// needProgram skips t without a redis-server, or fails it, see Required.
func needProgram(t testing.TB) {
	t.Helper()
	if _, err := exec.LookPath(program()); err != nil {
		if os.Getenv(Required) == "1" {
			t.Fatalf("no redis-server, and %s=1: %v", Required, err)
		}
		t.Skipf("no redis-server: %v", err)
	}
}

// newServer is not started yet. Its directory is its own. Both end with the test.
func newServer(t testing.TB, args ...string) *Server {
	t.Helper()
	needProgram(t)
	s := lastingServer(t, t.TempDir(), args...)
	t.Cleanup(s.Kill)
	return s
}

// lastingServer is a server, not started yet, that the end of the test does not end.
func lastingServer(t testing.TB, dir string, args ...string) *Server {
	t.Helper()
	s := &Server{t: t, dir: dir, port: FreePort(t), ready: "Ready to accept connections"}
	s.args = append([]string{
		"--port", s.port, "--bind", "127.0.0.1", "--dir", s.dir, "--save", "", "--appendonly", "no",
		"--repl-diskless-sync-delay", "0",
	}, args...)
	return s
}

//go:embed testdata/clock.c
var clockSource string

// SetClock has the server, from its next Restart on, live ahead of the machine's clock, or behind it. Without a
// C compiler the test is skipped, see Required.
func (s *Server) SetClock(ahead time.Duration) {
	s.t.Helper()
	s.used.Store(true)
	compile := exec.Command("cc", "-shared", "-fPIC", "-O1", "-x", "c", "-o", s.clockLibrary(), "-")
	compile.Stdin = strings.NewReader(clockSource)
	if out, err := compile.CombinedOutput(); err != nil {
		if os.Getenv(Required) == "1" {
			s.t.Fatalf("%v: %s", err, out)
		}
		s.t.Skipf("no C compiler: %v", err)
	}
	s.clock = ahead
}

func (s *Server) clockLibrary() string { return filepath.Join(s.dir, "clock.so") }

// given holds the ports that FreePort gave.
var given sync.Map

// FreePort is a port that nobody listens on and no other server of this process was given. It is below those that
// Linux takes for outgoing connections, so none of them can have it while its server is killed.
func FreePort(t testing.TB) string {
	t.Helper()
	for range 100 {
		port := fmt.Sprint(10000 + rand.IntN(22000))
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", port))
		if err != nil {
			continue
		}
		_ = l.Close()
		if _, taken := given.LoadOrStore(port, true); !taken {
			return port
		}
	}
	t.Fatal("no free port")
	return ""
}

// Addr is host:port.
func (s *Server) Addr() string { return "127.0.0.1:" + s.port }

// URL is the server's address as a REDIS_URL.
func (s *Server) URL() string { return "redis://" + s.Addr() }

// Restart starts the server anew, on the same port and directory, after a Kill or by one. It returns
// when the server accepts connections.
func (s *Server) Restart() {
	s.t.Helper()
	s.Kill()
	if err := s.start(); err != nil {
		s.t.Fatal(err)
	}
}

func (s *Server) start() error {
	cmd := exec.Command(program(), s.args...)
	if s.clock != 0 {
		cmd.Env = append(os.Environ(), "LD_PRELOAD="+s.clockLibrary(), fmt.Sprintf("AHEAD_US=%d", s.clock.Microseconds()))
	}
	dieWithParent(cmd)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	begun, accepting, gone := make(chan error), make(chan struct{}), make(chan struct{})
	var text strings.Builder
	go func() {
		defer close(gone)
		// Linux takes the end of the thread that started a process for the parent's: this one stays.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		begun <- err
		if err != nil {
			return
		}
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			fmt.Fprintln(&text, lines.Text())
			if strings.Contains(lines.Text(), s.ready) {
				close(accepting)
				break
			}
		}
		_, _ = io.Copy(io.Discard, out)
		_ = cmd.Wait()
	}()
	if err := <-begun; err != nil {
		return err
	}
	s.cmd, s.gone = cmd, gone
	select {
	case <-accepting:
	case <-gone:
		return fmt.Errorf("redis-server ended:\n%s", text.String())
	case <-time.After(patience):
		return fmt.Errorf("redis-server is not ready after %s", patience)
	}
	if s.begin == nil {
		return nil
	}
	return s.begin()
}

// Follow makes s a replica of master, and waits until it is.
func (s *Server) Follow(master *Server) {
	s.t.Helper()
	master.used.Store(true) // it has a line of replication from now on
	s.CLI("replicaof", "127.0.0.1", master.port)
	late := time.Now().Add(patience)
	for !strings.Contains(s.CLI("info", "replication"), "master_link_status:up") {
		if time.Now().After(late) {
			s.t.Fatal("the replica does not come up")
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// CatchUp waits until s, a replica of master, has all that master has by now. WAIT would not do: it is about what was
// written by the connection that sends it.
func (s *Server) CatchUp(master *Server) {
	s.t.Helper()
	for want, late := master.offset(), time.Now().Add(patience); s.offset() < want; time.Sleep(time.Millisecond) {
		if time.Now().After(late) {
			s.t.Fatal("the replica does not catch up")
		}
	}
}

// Promote makes s, which was a replica, a master: what it had not got by now it lacks for good.
func (s *Server) Promote() { s.CLI("replicaof", "no", "one") }

// Kill ends the server by SIGKILL and waits until it is gone.
func (s *Server) Kill() {
	s.used.Store(true)
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	<-s.gone
	s.cmd = nil
}

// Freeze stops the server's process, without closing anything, until Thaw.
func (s *Server) Freeze() {
	s.t.Helper()
	s.used.Store(true)
	Stop(s.t, s.cmd.Process)
}

// Thaw ends Freeze.
func (s *Server) Thaw() { s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig os.Signal) {
	s.t.Helper()
	s.used.Store(true)
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

// CLI runs a command on the server and returns the reply as redis-cli prints it to a file, less the last newline. A
// reply that is an error is returned too. CLI asks by itself: a start of redis-cli costs 30 ms of a processor.
func (s *Server) CLI(args ...string) string {
	s.t.Helper()
	reply, err := s.ask(time.Minute, args...)
	if refusal := refusal(""); errors.As(err, &refusal) {
		return refusal.Error() + "\n"
	}
	if err != nil {
		s.t.Fatalf("%s: %q: %v", s.Addr(), args, err)
	}
	return printed(reply)
}

// Monitor begins to watch the commands that the server runs, those of scripts included. end ends it and
// returns them, a line each.
func (s *Server) Monitor() (end func() []string) {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.Addr())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = conn.Close() })
	lines := bufio.NewScanner(conn)
	lines.Buffer(nil, 1<<20)
	fmt.Fprint(conn, "MONITOR\r\n")
	lines.Scan() // +OK
	return func() (seen []string) {
		const last = "end of monitor"
		s.CLI("echo", last)
		for lines.Scan() && !strings.Contains(lines.Text(), last) {
			seen = append(seen, lines.Text())
		}
		return seen
	}
}
