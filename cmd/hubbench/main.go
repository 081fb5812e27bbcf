// Command hubbench is the load tester of wshub: see package bench.
package main

import (
	"os"

	"wshub/bench"
)

func main() {
	args := bench.HideSecrets(os.Args[1:])
	os.Exit(bench.Main(bench.Interrupts(os.Stderr), args, os.Stdin, os.Stdout, os.Stderr))
}
