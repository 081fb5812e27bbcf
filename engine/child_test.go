package engine_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// roleVariable makes the test binary play a role of its own instead of running tests: some tests need
// other processes, for their file limit or because a process can't die halfway.
const roleVariable = "WSHUB_TEST_ROLE"

var roles = map[string]func(){
	"peers":  playPeers,
	"server": playServer,
}

// child is another process of this binary. It reads commands, a line each, and answers each with a line.
type child struct {
	t   testing.TB
	in  io.WriteCloser
	out *bufio.Scanner
}

// spawn starts a child that ends with the test.
func spawn(t testing.TB, role string) *child {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: %v", role, err)
		}
	})
	return &child{t, in, bufio.NewScanner(out)}
}

// send gives a command; answer reads the result. Between the two the child works on.
func (c *child) send(format string, args ...any) {
	c.t.Helper()
	if _, err := fmt.Fprintf(c.in, format+"\n", args...); err != nil {
		c.t.Fatal(err)
	}
}

func (c *child) answer(format string, args ...any) {
	c.t.Helper()
	if !c.out.Scan() {
		c.t.Fatal("child has ended: ", c.out.Err())
	}
	if _, err := fmt.Sscanf(c.out.Text(), format, args...); err != nil {
		c.t.Fatalf("child answers %q: %v", c.out.Text(), err)
	}
}

// obey is a child's side: commands by their first word, the rest being its arguments.
func obey(commands map[string]func(args string) string) {
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		name, args, _ := strings.Cut(in.Text(), " ")
		fmt.Println(commands[name](args))
	}
}
