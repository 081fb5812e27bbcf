package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
	"github.com/hashicorp/go-envparse"
)

const (
	// usualEnvFile is read where it exists and no other is named.
	usualEnvFile = ".env"
	// envFileVariable names another, or "off" for none. It is the environment's alone.
	envFileVariable = "HUB_ENV_FILE"
	// maxEnvFile bounds a file of variables, and one of a secret, in bytes.
	maxEnvFile = 64 << 10
)

// envFile is a file of variables beside the environment.
type envFile struct {
	name  string            // of the file that was read, or before that of the usual one; "" for none
	vars  map[string]string // those that may be the hub's
	other int               // how many are not
}

// note names the file and says what was found in it, "" where none was read.
func (f envFile) note() string {
	if f.name == "" {
		return ""
	}
	return fmt.Sprintf("Settings are read from %s, too: %d variables of the hub; %d others are ignored.", f.name, len(f.vars), f.other)
}

// readEnvFile reads the file of variables that the command line asks for. Nothing of it enters the process' environment.
func (s *settings) readEnvFile(ctx *kong.Context) error {
	file := s.env.file
	s.env.file = envFile{}
	switch command, _, _ := strings.Cut(ctx.Command(), " "); command {
	case "version", "help", "completion":
		return nil
	}
	named := false
	if name := s.env.value(envFileVariable); name != "" {
		file.name, named = name, name != pathOff
	}
	for _, step := range ctx.Path {
		switch {
		case step.Flag == nil:
		case step.Flag.Name == "env-file":
			file.name, named = fmt.Sprint(ctx.FlagValue(step.Flag)), true
		case step.Flag.Name == "no-env-file":
			return nil
		}
	}
	if file.name == "" || file.name == pathOff {
		return nil
	}
	read, err := readEnvFile(file.name)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !named:
		return nil
	case err != nil:
		return fmt.Errorf("%s: %w (--no-env-file does without it)", file.name, reason(err))
	}
	s.env.file = read
	return nil
}

// readEnvFile reads a file that nobody but its owner may write, who is this process' user or root. Its errors quote
// nothing of it.
func readEnvFile(name string) (envFile, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe without a writer would hold us up
	if err != nil {
		return envFile{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil {
		err = trusted(info, os.Geteuid())
	}
	if err != nil {
		return envFile{}, err
	}
	text, err := readBounded(f)
	if err != nil {
		return envFile{}, err
	}
	vars, err := parseEnvFile(text)
	if err != nil {
		return envFile{}, err
	}
	read := envFile{name: name, vars: make(map[string]string)}
	for name, value := range vars {
		if isOurs(name) {
			read.vars[name] = value
		} else {
			read.other++
		}
	}
	return read, nil
}

// isOurs reports whether a variable of that name is meant for the hub: a file may have those of other programs, too.
func isOurs(name string) bool {
	switch name {
	case "WS_PORT", "REDIS_URL", "REDIS_URL" + fileSuffix:
		return true
	}
	return strings.HasPrefix(name, "HUB_")
}

// trusted is nil for a file that only user us, or root, can have written.
func trusted(info fs.FileInfo, us int) error {
	owner, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !info.Mode().IsRegular():
		return errors.New("it is not a regular file")
	case !ok:
		return errors.New("its owner is not known")
	case int(owner.Uid) != us && owner.Uid != 0:
		return fmt.Errorf("it belongs to user %d, and the hub runs as user %d", owner.Uid, us)
	case info.Mode()&0o002 != 0, info.Mode()&0o020 != 0 && owner.Gid != owner.Uid: // a group of the same number is the user's own
		return errors.New("others may write it: chmod go-w")
	}
	return nil
}

var errTooLarge = fmt.Errorf("it has more than %d KiB", maxEnvFile>>10)

func readBounded(r io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxEnvFile+1))
	if err == nil && len(text) > maxEnvFile {
		err = errTooLarge
	}
	return text, err
}

// parseEnvFile reads lines NAME=value. The value may stand in quotes: in single ones as it is, in double ones with \n and
// the like. A $ is a character like any other.
func parseEnvFile(text []byte) (map[string]string, error) {
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	n := 0
	for line := range bytes.Lines(text) {
		if n++; cutsWord(line) {
			return nil, fmt.Errorf("line %d: a # within a value would begin a comment: put the value in single quotes", n)
		}
	}
	vars, err := envparse.Parse(bytes.NewReader(text))
	if wrong := new(envparse.ParseError); errors.As(err, &wrong) {
		return nil, fmt.Errorf("line %d is not of the form NAME=value: put a value with blanks, quotes or # in single quotes, and several lines in double quotes with \\n between them", max(wrong.Line, 1))
	}
	return vars, err
}

// cutsWord reports whether a # stands in line outside of quotes and right behind a word. A shell takes it for a part of
// the word; the parser takes it for a comment, and would cut a password there.
func cutsWord(line []byte) bool {
	name, value, _ := bytes.Cut(line, []byte("="))
	if bytes.ContainsRune(name, '#') { // the line is a comment
		return false
	}
	value = bytes.TrimSpace(value)
	quote := byte(0)
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case c == quote:
			quote = 0
		case quote == '"' && c == '\\':
			i++
		case quote != 0:
		case c == '"' || c == '\'':
			quote = c
		case c == '#':
			return i > 0 && value[i-1] != ' ' && value[i-1] != '\t'
		}
	}
	return false
}
