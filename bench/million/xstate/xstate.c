// User-mode Linux before 6.13 has room for 2.7 KB of a processor's extended registers. Where the processor has AMX they are
// 11 KB, and the host takes back all of them or none (PTRACE_SETREGSET, EFAULT). Preloaded into linux.uml this hands back the rest
// as it is in every process that has not asked for AMX: no program of the guest can.
//
//   cc -O2 -shared -fPIC -o xstate.so xstate.c && LD_PRELOAD=$PWD/xstate.so linux.uml ...
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static char registers[1 << 16];
static size_t size; // of registers in use, 0 until they were read once

// set_registers hands part, the beginning of pid's extended registers, back with the rest of them.
static long set_registers(pid_t pid, struct iovec *part) {
  struct iovec whole = {registers, sizeof registers};
  if (size == 0) {
    if (syscall(SYS_ptrace, PTRACE_GETREGSET, pid, NT_X86_XSTATE, &whole) < 0) return -1;
    size = whole.iov_len;
  }
  if (part->iov_len >= size) return syscall(SYS_ptrace, PTRACE_SETREGSET, pid, NT_X86_XSTATE, part);
  memcpy(registers, part->iov_base, part->iov_len);
  whole.iov_len = size;
  return syscall(SYS_ptrace, PTRACE_SETREGSET, pid, NT_X86_XSTATE, &whole);
}

// ptrace is libc's: the kernel puts the word that a PEEK reads where data points, libc returns it.
long ptrace(enum __ptrace_request request, ...) {
  va_list list;
  va_start(list, request);
  pid_t pid = va_arg(list, pid_t);
  void *addr = va_arg(list, void *), *data = va_arg(list, void *);
  va_end(list);
  if (request == PTRACE_SETREGSET && addr == (void *)NT_X86_XSTATE) return set_registers(pid, data);
  if (request != PTRACE_PEEKTEXT && request != PTRACE_PEEKDATA && request != PTRACE_PEEKUSER)
    return syscall(SYS_ptrace, request, pid, addr, data);
  long word, result = syscall(SYS_ptrace, request, pid, addr, &word);
  if (result < 0) return result;
  errno = 0;
  return word;
}
