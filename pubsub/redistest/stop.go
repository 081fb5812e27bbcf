package redistest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// Stop sends SIGSTOP to p, and returns when none of its threads runs any more: the signal takes effect some time after it was sent, and
// until then p answers. Where the system does not show the threads it returns at once. SIGCONT has p go on.
func Stop(t testing.TB, p *os.Process) {
	t.Helper()
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for late := time.Now().Add(patience); runs(p.Pid); time.Sleep(time.Millisecond) {
		if time.Now().After(late) {
			t.Fatalf("process %d does not stop", p.Pid)
		}
	}
}

// runs reports whether a thread of a process may run, which it may not if it is stopped or has ended.
func runs(pid int) bool {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid)) // the pattern is a good one
	for _, thread := range threads {
		stat, err := os.ReadFile(thread)
		if err != nil {
			continue // it has ended
		}
		// Its state stands behind the name, which may hold anything: proc(5).
		if at := bytes.LastIndexByte(stat, ')') + 2; at < len(stat) && !bytes.ContainsAny(stat[at:at+1], "TtZX") {
			return true
		}
	}
	return false
}
