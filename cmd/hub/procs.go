package main

import (
	"os"
	"runtime"
)

// cores is how many threads run Go code at a time unless somebody says otherwise: the processors of this
// machine or container.
var cores = runtime.GOMAXPROCS(0)

// makeRoom gives the Go scheduler one place more for each poller, which keeps its own while it sleeps in
// epoll_wait. Without it every waiting poller must first be noticed by the runtime's monitor before other
// goroutines can run, and that thread then never rests. GOMAXPROCS in the environment is left as it is.
// The number is fixed from then on: a container that gets more processors later is to be restarted.
func makeRoom(pollers int) {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(cores + pollers)
	}
}
