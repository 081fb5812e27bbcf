package main

import (
	"runtime"
	"testing"
)

func TestPollersHaveRoomInTheScheduler(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(before)
	t.Setenv("GOMAXPROCS", "1")
	if makeRoom(3); runtime.GOMAXPROCS(0) != before {
		t.Errorf("GOMAXPROCS=1 was made %d", runtime.GOMAXPROCS(0))
	}
	t.Setenv("GOMAXPROCS", "")
	if makeRoom(3); runtime.GOMAXPROCS(0) != cores+3 {
		t.Errorf("%d places for %d cores and 3 pollers", runtime.GOMAXPROCS(0), cores)
	}
}
