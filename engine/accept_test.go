package engine_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"syscall"
	"testing"

	"wshub/engine"
)

// Without descriptors for more, the clients that wait are served as soon as there are some again.
func TestAcceptRecoversFromTheFileLimit(t *testing.T) {
	const free, clients = 9, 30
	server := spawn(t, "server")
	var addr string
	server.answer("listening %s", &addr)
	server.send("fill %d", free)
	server.answer("filled")
	var all []*rawClient
	for range clients {
		c, err := rawOpen(addr, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		all = append(all, c)
	}
	stats := func() (st engine.Stats) {
		var line string
		server.send("stats")
		server.answer("%s", &line)
		if err := json.Unmarshal([]byte(line), &st); err != nil {
			t.Fatal(err)
		}
		return st
	}
	short := func(st engine.Stats) uint64 { return st.Dropped["accept_error"] + st.Dropped["file_limit"] }
	eventually(t, "the limit is felt", func() bool { return short(stats()) >= 3 })
	if st := stats(); st.Sockets < free-2 || st.Sockets > free {
		t.Errorf("%+v", st)
	}
	server.send("free")
	server.answer("freed")
	served := 0
	for _, c := range all {
		if c.upgrade("") == nil {
			served++
		}
	}
	if st := stats(); served != clients || short(st) > 50 {
		t.Errorf("%d of %d were served; %+v", served, clients, st)
	}
}

// playServer is a server with few descriptors.
func playServer() {
	const files = 1000
	_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: files, Max: files})
	s, err := engine.New(engine.Config{Addr: "127.0.0.1:0", Pollers: 2}, echo{})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, end := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	up := make(chan struct{})
	s.Loops()[0].Post(func() { close(up) })
	<-up
	fmt.Println("listening", s.Addr())
	var held []*os.File
	obey(map[string]func(string) string{
		"fill": func(args string) string {
			var free int
			_, _ = fmt.Sscan(args, &free)
			for {
				f, err := os.Open(os.DevNull)
				if err != nil {
					break
				}
				held = append(held, f)
			}
			for _, f := range held[len(held)-free:] {
				_ = f.Close()
			}
			held = held[:len(held)-free]
			return "filled"
		},
		"free": func(string) string {
			for _, f := range held {
				_ = f.Close()
			}
			return "freed"
		},
		"stats": func(string) string {
			b, _ := json.Marshal(s.Stats())
			return string(b)
		},
	})
	end()
	<-ended
}
