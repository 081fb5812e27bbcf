package bench

import (
	"strings"
	"testing"
	"time"
)

func TestTheMachinesTimeIsReadFromProcStat(t *testing.T) {
	for text, want := range map[string]machineUse{
		"cpu  100 20 3 40000 50000 6 7 800 900 1000\ncpu0 1 1 1 1 1 1 1 1\n": {Busy: 136 * tick, Stolen: 800 * tick},
		"cpu  100 20 3 40000": {Busy: 123 * tick}, // as old kernels have it
		"cpu  x -5 3 4":       {Busy: 3 * tick},
		"":                    {},
	} {
		if got := parseMachine(text); got != want {
			t.Errorf("%q: %+v, want %+v", text, got, want)
		}
	}
	if now := machine(); now.Busy <= 0 || now.Stolen < 0 {
		t.Errorf("this machine: %+v", now)
	}
}

func TestStolenTimeIsToldOf(t *testing.T) {
	for _, test := range []struct {
		stolen time.Duration
		told   bool
	}{{0, false}, {time.Duration(cores()) * 15 * time.Millisecond, false}, {time.Duration(cores()) * 150 * time.Millisecond, true}} {
		began := time.Now()
		tr := &trial{run: &Run{}}
		tr.last = reading{at: began.Add(time.Second), machine: machineUse{Busy: 100 * time.Millisecond, Stolen: test.stolen}}
		var part LoadPart
		tr.fillLoad(&part, reading{at: began})
		share := test.stolen.Seconds() / float64(cores())
		if got := tr.run.Client; got.Stolen != share || got.Other < 0.09 || got.Other > 0.11 {
			t.Errorf("%v stolen: a share of %v, want %v; %v cores were busy with others", test.stolen, got.Stolen, share, got.Other)
		}
		if told := strings.Contains(strings.Join(tr.run.Notes, "\n"), "hypervisor"); told != test.told {
			t.Errorf("%v stolen: %q", test.stolen, tr.run.Notes)
		}
	}
}
