package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"wshub/pubsub/redistest"
	"wshub/pubsub/redistest/drills"
)

// patience is how long anything may take that the tests wait for. All of it takes far less.
const patience = 30 * time.Second

// buildHub returns the path of the program, which the first call compiles for all tests. TestMain removes it. In a plain
// run, which has few tests that start a hub, it is the tests' own program: to compile another one takes longer than they do.
func buildHub(t *testing.T) string {
	t.Helper()
	find := built.hub
	if drills.IsPlain(t) {
		find = built.played
	}
	path, err := find()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// built are the programs that tests start, in a directory of their own.
var built = newPrograms()

// playedHub is the name under which the tests' program is the hub.
const playedHub = "played-hub"

type programs struct {
	dir func() (string, error)
	hub func() (path string, err error)
	// played leads to the tests' own program, which is the hub under this name.
	played func() (path string, err error)
	// centrifugego has clients of centrifuge-go.
	centrifugego func() (path string, err error)
}

func newPrograms() *programs {
	p := &programs{dir: sync.OnceValues(func() (string, error) { return os.MkdirTemp("", "wshub-programs") })}
	p.hub = p.compiling("hub", ".")
	p.played = sync.OnceValues(func() (string, error) {
		dir, err := p.dir()
		if err != nil {
			return "", err
		}
		own, err := os.Executable()
		if err != nil {
			return "", err
		}
		path := filepath.Join(dir, playedHub)
		return path, os.Symlink(own, path)
	})
	p.centrifugego = p.compiling("centrifugego", "./testdata/centrifugego")
	return p
}

// compiling compiles a package when it is first called, and returns the program's path.
func (p *programs) compiling(name, source string) func() (string, error) {
	return sync.OnceValues(func() (string, error) {
		dir, err := p.dir()
		if err != nil {
			return "", err
		}
		path := filepath.Join(dir, name)
		if out, err := exec.Command("go", "build", "-o", path, source).CombinedOutput(); err != nil {
			return "", fmt.Errorf("go build %s: %w\n%s", source, err, out)
		}
		return path, nil
	})
}

// remove deletes all programs. Call it when no test runs any more.
func (p *programs) remove() {
	if dir, err := p.dir(); err == nil {
		_ = os.RemoveAll(dir)
	}
}

// process is a hub of its own process.
type process struct {
	t       *testing.T
	cmd     *exec.Cmd
	public  string // ws://host:port/notification
	control string // http://host:port
	lines   chan logLine
	exited  chan struct{}

	mu  sync.Mutex
	log strings.Builder
}

// logLine is what of a log line matters to the tests.
type logLine struct {
	Message, Addr, Path, Control string
	TLS                          bool
}

// startHub runs the program at path on free ports until the test ends.
func startHub(t *testing.T, path, redisURL string, args ...string) *process {
	t.Helper()
	p := &process{
		t:      t,
		cmd:    exec.Command(path, append([]string{"--no-env-file", "--port=0", "--control=127.0.0.1:0", "--log-format=json", "--log-level=debug"}, args...)...),
		lines:  make(chan logLine, 10_000),
		exited: make(chan struct{}),
	}
	p.cmd.Env = append(os.Environ(), "REDIS_URL="+redisURL)
	stderr, err := p.cmd.StderrPipe()
	if err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.exited)
		scan := bufio.NewScanner(stderr)
		for scan.Scan() {
			p.note(scan.Bytes())
		}
		_ = p.cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.exited
		if t.Failed() {
			t.Logf("log of hub %s:\n%s", p.public, p.text())
		}
	})
	l := p.await("listening")
	p.public, p.control = "ws://"+l.Addr+l.Path, "http://"+l.Control
	if l.TLS {
		p.public = "wss://" + l.Addr + l.Path
	}
	return p
}

// metric is what /metrics shows under that very name; 0 where it shows nothing.
func (p *process) metric(name string) (sum float64) {
	_, text, _ := ask(p.t, "GET", p.control+"/metrics", "")
	for line := range strings.Lines(text) {
		var v float64
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			if _, err := fmt.Sscan(rest, &v); err != nil {
				p.t.Fatalf("metric %q: %v", line, err)
			}
			sum += v
		}
	}
	return sum
}

func (p *process) note(line []byte) {
	p.mu.Lock()
	p.log.Write(line)
	p.log.WriteByte('\n')
	p.mu.Unlock()
	var l logLine
	if json.Unmarshal(line, &l) == nil {
		select {
		case p.lines <- l:
		default: // nobody waits any more
		}
	}
}

func (p *process) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// await returns the next log line whose message contains text.
func (p *process) await(text string) logLine {
	p.t.Helper()
	late := time.After(patience)
	for {
		select {
		case l := <-p.lines:
			if strings.Contains(l.Message, text) {
				return l
			}
		case <-p.exited:
			p.t.Fatalf("hub ended before %q:\n%s", text, p.text())
		case <-late:
			p.t.Fatalf("no %q in the log:\n%s", text, p.text())
		}
	}
}

// signal sends sig. A process that is stopped stands still from then on.
func (p *process) signal(sig os.Signal) {
	p.t.Helper()
	if sig == syscall.SIGSTOP {
		redistest.Stop(p.t, p.cmd.Process)
		return
	}
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Fatal(err)
	}
}

// terminate sends SIGTERM and returns when the hub says that it drains.
func (p *process) terminate() {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	p.await("draining")
}

// exitCode waits for the process's end.
func (p *process) exitCode() int {
	p.t.Helper()
	select {
	case <-p.exited:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		p.t.Fatalf("hub does not end:\n%s", p.text())
		return 0
	}
}

// eventually repeats try until it is nil.
func eventually(t *testing.T, try func() error) {
	t.Helper()
	late, again := time.After(patience), time.NewTicker(20*time.Millisecond)
	defer again.Stop()
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-again.C:
		case <-late:
			t.Fatalf("still: %v", err)
		}
	}
}
