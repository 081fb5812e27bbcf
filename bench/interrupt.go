package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
)

// Interrupts returns a context that ends with the first SIGINT, SIGTERM or SIGHUP. A second one kills the server
// that hubbench started and ends the process at once. It is for main: it holds for the whole process.
func Interrupts(stderr io.Writer) context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) { // nohup means it
		signal.Notify(signals, syscall.SIGHUP)
	}
	// A reader of the output that has gone must not end the run: a write then fails with EPIPE instead.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	go func() {
		<-signals
		cancel()
		_, _ = fmt.Fprintln(stderr, "\nhubbench: interrupted: ending in order (a run reports what it has and stops its server); once more ends everything at once")
		<-signals
		startedServers.kill()
		os.Exit(exitInterrupted)
	}()
	return ctx
}

// startedServers are the process groups of servers that run because hubbench started them.
var startedServers groups

type groups struct {
	mu     sync.Mutex
	leader map[int]bool
	over   bool // all were killed, and none may start
}

var errOver = errors.New("hubbench ends")

// start starts cmd, which begins a group: kill comes before it or behind it.
func (g *groups) start(cmd *exec.Cmd) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.over {
		return errOver
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	if g.leader == nil {
		g.leader = map[int]bool{}
	}
	g.leader[cmd.Process.Pid] = true
	return nil
}

// remove says that a group has ended.
func (g *groups) remove(pid int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.leader, pid)
}

func (g *groups) kill() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.over = true
	for pid := range g.leader {
		_ = syscall.Kill(-pid, syscall.SIGKILL) // gone already: as wanted
	}
}
