package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// serverProcess is a server that hubbench started.
type serverProcess struct {
	command string
	addr    netip.AddrPort
	cmd     *exec.Cmd
	output  *tail
	ended   chan struct{} // closed when it has
}

const (
	startLimit = 60 * time.Second // a command may compile first
	stopLimit  = 90 * time.Second // a hub that drains takes its time
	// workerLimit is how long a server's workers may listen after it.
	workerLimit = 2 * time.Second
)

// startServer runs command and returns when somebody listens on addr.
func startServer(ctx context.Context, command string, addr netip.AddrPort) (*serverProcess, error) {
	if reach(ctx, addr) == nil {
		return nil, fmt.Errorf("%s is taken: somebody listens there already, and --server is to start one; leave --server out to load the one that runs, or choose another port in both --url and --server", addr)
	}
	s := &serverProcess{command: command, addr: addr}
	if err := s.start(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *serverProcess) start(ctx context.Context) error {
	words, err := splitWords(s.command)
	if err != nil || len(words) == 0 {
		return usagef("--server=%q: not a command", guarded(s.command))
	}
	s.output, s.ended = &tail{}, make(chan struct{})
	s.cmd = exec.Command(words[0], words[1:]...)
	s.cmd.Stdout, s.cmd.Stderr = s.output, s.output
	s.cmd.Env = append(os.Environ(), "HUB_ENV_FILE=off") // what is measured is what the command says
	s.cmd.SysProcAttr = serverAttributes()
	if err := s.run(); err != nil {
		return fmt.Errorf("start the server: %w", err)
	}
	begin := time.Now()
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for reach(ctx, s.addr) != nil {
		select {
		case <-s.ended:
			return errors.Join(fmt.Errorf("the server ended before it listened on %s:\n%s", s.addr, s.output), s.stop())
		case <-ctx.Done():
			said := cmp.Or(s.output.String(), "nothing")
			err := fmt.Errorf("the server runs, and after %s does not listen on %s. It said:\n%s", time.Since(begin).Round(time.Millisecond), s.addr, said)
			return errors.Join(hinted(err, "--url says where its clients find it: is that where the server listens?"), s.stop())
		case <-poll.C:
		}
	}
	return nil
}

// run starts the command and keeps the thread that did it until the server has ended (serverAttributes).
func (s *serverProcess) run() error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := startedServers.start(s.cmd)
		started <- err
		if err == nil {
			_ = s.cmd.Wait() // how it ended is told by its output
			close(s.ended)
		}
	}()
	return <-started
}

// stop ends the server and everything it started.
func (s *serverProcess) stop() error {
	if s.cmd.Process == nil { // it could not be started
		return nil
	}
	defer startedServers.remove(s.cmd.Process.Pid) // its workers may outlive it until then
	if !s.signal(syscall.SIGTERM) {
		return nil
	}
	select {
	case <-s.ended:
		s.stopWorkers()
		return nil
	case <-time.After(stopLimit):
	}
	s.signal(syscall.SIGKILL)
	<-s.ended
	return fmt.Errorf("the server did not end within %s of SIGTERM and was killed", stopLimit)
}

// stopWorkers ends processes that still listen a while after the server that started them has ended: one that nginx has
// just started can miss the signal of its group.
func (s *serverProcess) stopWorkers() {
	ctx, cancel := context.WithTimeout(context.Background(), workerLimit)
	defer cancel()
	err := reach(ctx, s.addr)
	for ; err == nil; err = reach(ctx, s.addr) {
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
	if !errors.Is(err, syscall.ECONNREFUSED) { // nobody has said that nobody listens; a dial may be over before ctx is
		_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL) // gone at last: as wanted
	}
}

// kill ends the server as a crash would.
func (s *serverProcess) kill() {
	if s.cmd.Process == nil {
		return
	}
	defer startedServers.remove(s.cmd.Process.Pid)
	if s.signal(syscall.SIGKILL) {
		<-s.ended
	}
}

// signal reports whether the server was there to be signalled.
func (s *serverProcess) signal(sig syscall.Signal) bool {
	select {
	case <-s.ended:
		return false
	default:
		return syscall.Kill(-s.cmd.Process.Pid, sig) == nil
	}
}

// reach sees whether somebody accepts connections on addr.
func reach(ctx context.Context, addr netip.AddrPort) error {
	dialer := net.Dialer{Timeout: 3 * time.Second}
	conn, err := dialer.DialContext(ctx, "tcp", addr.String())
	if err != nil {
		err = fmt.Errorf("cannot reach the server: %w", err)
		if errors.Is(err, syscall.ECONNREFUSED) {
			err = hinted(err, "nobody listens at "+addr.String()+": --url is the hub's public port, and --server=./hub starts a hub for the run")
		}
		return err
	}
	return conn.Close()
}

// tail keeps the end of what is written to it.
type tail struct {
	mu sync.Mutex
	b  []byte
}

const tailSize = 4 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	if over := len(t.b) - tailSize; over > 0 {
		t.b = append(t.b[:0], t.b[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.b))
}
