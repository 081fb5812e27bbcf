package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/alecthomas/kong"
	"github.com/willabides/kongplete"
)

// complete reports whether a shell has called the program to complete a line, which it then has printed. The line is in
// the variable COMP_LINE.
func complete(k *kong.Kong) (done bool) {
	kongplete.Complete(k, kongplete.WithExitFunc(func(int) { done = true }))
	return done
}

// completions are, by shell, the lines that have it call the program, {bin}, to complete a line.
var completions = map[string]string{
	"bash": "complete -C '{bin}' hub\n",
	"zsh":  "autoload -U +X bashcompinit && bashcompinit\ncomplete -C '{bin}' hub\n",
	"fish": `function __complete_hub
    set -lx COMP_LINE (commandline -cp)
    test -z (commandline -ct)
    and set COMP_LINE "$COMP_LINE "
    '{bin}'
end
complete -f -c hub -a "(__complete_hub)"
`,
}

// printCompletion prints what shell is to read when it starts.
func printCompletion(shell string, stdout io.Writer) error {
	bin, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program's file: %w", err)
	}
	if strings.Contains(bin, "'") {
		return fmt.Errorf("a quote in this program's path %q would end it in a shell", bin)
	}
	_, err = io.WriteString(stdout, strings.ReplaceAll(completions[shell], "{bin}", bin))
	return err
}
