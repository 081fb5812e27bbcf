package engine_test

import (
	"context"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"wshub/engine"
)

func openFiles(t *testing.T) int {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("no list of open files here: ", err)
	}
	return len(files)
}

// Run's end is the end of every connection, each peer is told, and no descriptor stays open.
func TestRunEndsAllAndLeavesNothing(t *testing.T) {
	const n = 2000
	if first, err := net.Listen("tcp", "127.0.0.1:0"); err == nil { // with which the runtime opens files of its own
		_ = first.Close()
	}
	before := openFiles(t)
	told := make(chan *engine.Cause, n)
	s, err := engine.New(engine.Config{Addr: "127.0.0.1:0", Pollers: 2}, handler(func(h *engine.Handshake) {
		h.Accept("", &peer{closed: func(cause *engine.Cause) { told <- cause }}, nil)
	}))
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	clients, failed := openMany(s.Addr().String(), "", n)
	if failed > 0 {
		t.Fatalf("%d could not connect", failed)
	}
	half := rawTCP(t, s, 0) // in its handshake
	half.write(t, []byte("GET"))
	eventually(t, "all are there", func() bool { return s.Stats().Sockets == n+1 })
	end()
	if err := within(t, "the end of Run", ended); err != nil {
		t.Error(err)
	}
	if len(told) != n {
		t.Errorf("%d peers of %d were told", len(told), n)
	}
	for range len(told) {
		if cause := <-told; cause != engine.Shutdown {
			t.Fatalf("closed: %s", cause.Name)
		}
	}
	if st := s.Stats(); st.Open != 0 || st.Sockets != 0 || st.Closed["shutdown"] != n+1 {
		t.Errorf("%+v", st)
	}
	for _, c := range clients {
		_ = c.Close()
	}
	_ = half.Close()
	eventually(t, "all files are closed", func() bool { return openFiles(t) <= before })
}

func TestRunEndsAtOnce(t *testing.T) {
	for range 50 {
		s, err := engine.New(engine.Config{Addr: "127.0.0.1:0", Pollers: 3}, echo{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, end := context.WithCancel(context.Background())
		end()
		if err := s.Run(ctx); err != nil {
			t.Fatal(err)
		}
	}
}

func TestLiveSaysWhichLoopStands(t *testing.T) {
	t.Parallel()
	s := serve(t, engine.Config{Pollers: 2}, echo{})
	rawDial(t, s, "") // it is up
	if err := s.Live(patience); err != nil {
		t.Error(err)
	}
	goOn := make(chan struct{})
	s.Loops()[1].Post(func() { <-goOn })
	eventually(t, "it stands", func() bool {
		err := s.Live(time.Second)
		return err != nil && strings.HasPrefix(err.Error(), "loop 1 has not turned for ")
	})
	close(goOn)
	eventually(t, "both loops turn again", func() bool { return s.Live(time.Second) == nil })
}
