//go:build !linux

package bench

import "syscall"

// serverAttributes put a server into a process group of its own, since Ctrl-C is for hubbench, which stops it.
func serverAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
