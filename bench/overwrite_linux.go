package bench

import "unsafe"

// overwrite puts as much of text as fits into the memory of s, and blanks behind it. On Linux the memory of the
// process' arguments, which /proc/PID/cmdline shows, is writable.
func overwrite(s, text string) {
	memory := unsafe.Slice(unsafe.StringData(s), len(s))
	for i := range memory {
		memory[i] = ' '
	}
	copy(memory, text)
}
