package bench

import "syscall"

// serverAttributes put a server into a process group of its own, since Ctrl-C is for hubbench, which stops it. The
// kernel kills the server when the thread that started it ends: hubbench keeps that thread until then.
func serverAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
