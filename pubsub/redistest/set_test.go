package redistest

import (
	"bufio"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"
)

// client speaks to a server, a line each way.
type client struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

func dial(t *testing.T, addr string) *client {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &client{t: t, conn: conn, in: bufio.NewReader(conn)}
}

func (c *client) send(line string) {
	c.t.Helper()
	if _, err := c.conn.Write([]byte(line + "\r\n")); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) want(line string) {
	c.t.Helper()
	_ = c.conn.SetReadDeadline(time.Now().Add(wait))
	if got, err := c.in.ReadString('\n'); err != nil || strings.TrimSpace(got) != line {
		c.t.Fatalf("%q, %v; want %q", got, err, line)
	}
}

// TestServersDieWithATestThatIsKilled runs a test that ends without its cleanup.
func TestServersDieWithATestThatIsKilled(t *testing.T) {
	t.Parallel()
	const variable = "REDISTEST_LEAVE"
	if os.Getenv(variable) != "" {
		s := Start(t)
		_, _ = os.Stdout.WriteString("\nleft " + s.Addr() + " ")
		os.Exit(0)
	}
	if runtime.GOOS != "linux" {
		t.Skip("only Linux can")
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), variable+"=1", "TMPDIR="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	_, left, ok := strings.Cut(string(out), "left ")
	if !ok {
		t.Fatalf("no server: %s", out)
	}
	addr := strings.Fields(left)[0]
	until(t, wait, func() string {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			return ""
		}
		_ = conn.Close()
		return addr + " answers"
	})
}
