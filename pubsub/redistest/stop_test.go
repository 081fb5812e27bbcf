package redistest

import (
	"runtime"
	"testing"
)

func TestAStoppedServerHasStopped(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("its threads are not shown")
	}
	s := Start(t)
	process := s.cmd.Process
	for range 20 {
		s.Freeze()
		if runs(process.Pid) {
			t.Fatal("it runs")
		}
		s.Thaw()
		s.CLI("ping")
	}
	s.Kill()
	if runs(process.Pid) {
		t.Error("it runs when it is killed")
	}
}
