package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"wshub/pubsub/redistest/drills"
)

func TestSystemdTakesTheUnit(t *testing.T) {
	drills.Programs(t)
	t.Parallel()
	program, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip(err)
	}
	unit := filepath.Join(t.TempDir(), "wshub.service")
	text := read(t, "deploy/wshub.service")
	const installed = "ExecStart=/usr/local/bin/hub\n"
	if !strings.Contains(text, installed) {
		t.Fatalf("no %q", installed)
	}
	write(t, unit, strings.Replace(text, installed, "ExecStart="+buildHub(t)+"\n", 1))
	out, err := exec.Command(program, "verify", "--man=no", unit).CombinedOutput()
	if err != nil || strings.Contains(string(out), unit) || strings.Contains(string(out), "wshub.service") {
		t.Errorf("%v\n%s", err, out)
	}
}
