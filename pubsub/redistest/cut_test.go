package redistest

import (
	"bufio"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"testing"
)

// TestOneProcessIsCutOff and others are not.
func TestOneProcessIsCutOff(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux can")
	}
	s := Start(t)
	p := NewProxy(t, s.Addr())
	_, port, _ := net.SplitHostPort(p.Addr())
	other := exec.Command("redis-cli", "-p", port)
	in, err := other.StdinPipe()
	out, err2 := other.StdoutPipe()
	if err != nil || err2 != nil || other.Start() != nil {
		t.Fatal(err, err2)
	}
	t.Cleanup(func() { _ = other.Process.Kill(); _ = other.Wait() })
	say := func() {
		if _, err := io.WriteString(in, "incr k\n"); err != nil {
			t.Fatal(err)
		}
	}
	hears := func(want string) {
		t.Helper()
		b := make([]byte, len(want))
		if _, err := io.ReadFull(bufio.NewReader(out), b); err != nil || string(b) != want {
			t.Fatalf("%q, %v; want %q", b, err, want)
		}
	}
	own := dial(t, p.Addr())
	say()
	hears("1\n")
	for i, way := range []Way{ToServer, ToClient} {
		p.CutOffProcess(other.Process.Pid, way)
		say()
		late := dial(t, p.Addr())
		for _, c := range []*client{own, late} {
			c.send("PING")
			c.want("+PONG")
		}
		if k, want := s.CLI("get", "k"), [...]string{"1", "3"}[i]; way == ToServer && k != want {
			t.Fatalf("k is %s", k)
		} else if way == ToClient {
			until(t, wait, func() string { return need(s.CLI("get", "k") == want, "the command does not come") })
		}
		p.RejoinProcess()
		hears([...]string{"2\n", "3\n"}[i])
	}
	p.CutOffProcess(os.Getpid(), Both)
	own.send("PING")
	say()
	hears("4\n")
	p.RejoinProcess()
	own.want("+PONG")
}
