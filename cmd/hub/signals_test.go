package main

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"wshub/pubsub/redistest/drills"
)

func TestAHangUpKillsNobody(t *testing.T) {
	drills.Programs(t)
	t.Parallel()
	h := startHub(t, buildHub(t), "", "--drain-grace=0s", "--drain-window=100ms")
	c := dial(t, "plain", h.public, "")
	for sig, name := range map[os.Signal]string{syscall.SIGUSR1: "user defined signal 1", syscall.SIGUSR2: "user defined signal 2"} {
		h.signal(sig)
		h.await("this signal changes nothing")
		if !strings.Contains(h.text(), `"signal":"`+name+`"`) {
			t.Errorf("no %q in the log:\n%s", name, h.text())
		}
	}
	h.signal(syscall.SIGHUP) // as a closed terminal does
	h.await("keys and secrets are read again")
	c.say(`{"still":"here"}`)
	c.want(`{"still":"here"}`)
	h.terminate()
	if code := c.wantEnd(); code != 1012 {
		t.Errorf("closed with %d", code)
	}
	if code := h.exitCode(); code != 0 {
		t.Errorf("ends with %d", code)
	}
}

// A log that can't be written kills nobody, and the drain happens: neither when its reader is gone, as with Ctrl-C for
// hub 2>&1 | tee, nor when it does not read any more.
func TestADrainNeedsNoReaderOfTheLog(t *testing.T) {
	drills.Programs(t)
	t.Parallel()
	path := buildHub(t)
	for name, lose := range map[string]func(t *testing.T, r, w *os.File){
		"gone": func(t *testing.T, r, w *os.File) {
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
		},
		"stuck": func(t *testing.T, _, w *os.File) { fill(t, w) },
	} {
		t.Run(name, func(t *testing.T) {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			defer w.Close()
			cmd := exec.Command(path, "--no-env-file", "--port=0", "--control=off", "--log-format=json", "--drain-grace=0s", "--drain-window=100ms")
			cmd.Stderr, cmd.Stdout = w, w
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			defer func() { _ = cmd.Process.Kill() }()
			line, err := bufio.NewReader(r).ReadBytes('\n')
			var l logLine
			if err != nil || json.Unmarshal(line, &l) != nil || l.Message != "listening" {
				t.Fatalf("%s: %v", line, err)
			}
			c := dial(t, "plain", "ws://"+l.Addr+l.Path, "")
			lose(t, r, w)
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil { // the drain begins with a line
				t.Fatal(err)
			}
			if code := c.wantEnd(); code != 1012 {
				t.Errorf("closed with %d", code)
			}
			select {
			case err := <-ended:
				if err != nil {
					t.Errorf("ends with %v", err)
				}
			case <-time.After(patience):
				t.Error("does not end")
			}
		})
	}
}

// fill writes to w until nothing more goes in.
func fill(t *testing.T, w *os.File) {
	t.Helper()
	fd := int(w.Fd())
	if err := syscall.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	for size := 4096; size > 0; {
		if _, err := syscall.Write(fd, make([]byte, size)); err != nil {
			size /= 2
		}
	}
	if err := syscall.SetNonblock(fd, false); err != nil { // the hub's writes wait again
		t.Fatal(err)
	}
}
