package bench

import (
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestTheMachinesTimeIsReadFromProcStat(t *testing.T) {
	for text, want := range map[string]machineUse{
		"cpu  100 20 3 40000 50000 6 7 800 900 1000\ncpu0 1 1 1 1 1 1 1 1\n": {Busy: 136 * tick, Stolen: 800 * tick},
		"cpu  100 20 3 40000": {Busy: 123 * tick}, // as old kernels have it
		"cpu  x -5 3 4":       {Busy: 3 * tick},
		"":                    {},
	} {
		if got := parseMachine(text); got != want {
			t.Errorf("%q: %+v, want %+v", text, got, want)
		}
	}
	if now := machine(); now.Busy <= 0 || now.Stolen < 0 {
		t.Errorf("this machine: %+v", now)
	}
}

// A child that has not begun its program yet holds its parent's sockets: here one that keeps them for longer.
func TestAServersChildThatEndsIsNoServerThatDied(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), "sleep", "60")
	child.ExtraFiles = []*os.File{f}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	at := netip.MustParseAddrPort(l.Addr().String())
	s := servers{listeners(at), at}
	if _, err := s.use(); err != nil || !slices.Contains(s.pids, child.Process.Pid) {
		t.Fatalf("%v, %v", s.pids, err)
	}
	_ = child.Process.Kill()
	_ = child.Wait()
	_, ended := s.use()
	if ended == nil {
		t.Error("a process that ended is not noticed")
	}
	if got, err := s.useAgain(ended); err != nil || got.RSS == 0 || slices.Contains(s.pids, child.Process.Pid) {
		t.Errorf("%+v of %v, %v", got, s.pids, err)
	}
	_ = l.Close()
	gone := servers{pids: []int{child.Process.Pid}, at: at}
	if _, err := gone.useAgain(ended); err == nil {
		t.Error("a server that died is found")
	}
}

func TestStolenTimeIsToldOf(t *testing.T) {
	for _, test := range []struct {
		stolen time.Duration
		told   bool
	}{{0, false}, {time.Duration(cores()) * 15 * time.Millisecond, false}, {time.Duration(cores()) * 150 * time.Millisecond, true}} {
		began := time.Now()
		tr := &trial{run: &Run{}}
		tr.last = reading{at: began.Add(time.Second), machine: machineUse{Busy: 100 * time.Millisecond, Stolen: test.stolen}}
		var part LoadPart
		tr.fillLoad(&part, reading{at: began})
		share := test.stolen.Seconds() / float64(cores())
		if got := tr.run.Client; got.Stolen != share || got.Other < 0.09 || got.Other > 0.11 {
			t.Errorf("%v stolen: a share of %v, want %v; %v cores were busy with others", test.stolen, got.Stolen, share, got.Other)
		}
		if told := strings.Contains(strings.Join(tr.run.Notes, "\n"), "hypervisor"); told != test.told {
			t.Errorf("%v stolen: %q", test.stolen, tr.run.Notes)
		}
	}
}
