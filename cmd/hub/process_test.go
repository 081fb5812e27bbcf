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
)

// patience is how long anything may take that the tests wait for. All of it takes far less.
const patience = 30 * time.Second

// buildHub compiles the program and returns its path.
func buildHub(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hub")
	if out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return path
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
type logLine struct{ Message, Addr, Path, Control string }

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

func (p *process) signal(sig os.Signal) {
	p.t.Helper()
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
