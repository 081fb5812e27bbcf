//go:build !linux

package redistest

import "os/exec"

// dieWithParent does nothing here: servers are killed by the test's cleanup alone.
func dieWithParent(*exec.Cmd) {}
