package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
)

// environment is what the program finds around it: the variables that it was started with, those of a file, and how
// much memory the system lets it have.
type environment struct {
	vars map[string]string
	file envFile
	room memory
}

// layer is one place where variables stand.
type layer struct {
	vars map[string]string
	file string // its name, "" for the environment
}

// layers are the places where settings may stand, the one that wins first.
func (e environment) layers() []layer {
	return []layer{{e.vars, ""}, {e.file.vars, e.file.name}}
}

// at names a variable of the layer.
func (l layer) at(name string) string {
	if l.file == "" {
		return name
	}
	return name + " in " + l.file
}

// fileSuffix ends the names of variables that name the file in which a secret stands.
const fileSuffix = "_FILE"

// names are the variables that set f, the first one that is set holds. A secret may stand in a file.
func names(f *kong.Flag) (all []string) {
	for _, name := range envNames(f) {
		all = append(all, name)
		if f.Tag.Get("secret") != "" {
			all = append(all, name+fileSuffix)
		}
	}
	return all
}

// get is what f is set to by the variable called name, which is one of f's, "" if by nothing. set is also true for an
// empty variable.
func (l layer) get(f *kong.Flag, name string) (value string, set bool, err error) {
	value, set = l.vars[name]
	value = trimmed(value)
	switch isFile := strings.HasSuffix(name, fileSuffix) && f.Tag.Get("secret") != ""; {
	case isServiceAddress(name, value):
		return "", false, nil
	case isFile && value != "":
		if value, err = readSecret(value); err != nil {
			err = fmt.Errorf("%s: %w", l.at(name), err)
		}
	}
	return value, set, err
}

// secretTime is how long the writer of a pipe may take for a secret.
const secretTime = 5 * time.Second

// readSecret reads the file in which a secret stands. Its errors do not repeat the name: it may be the secret itself, in
// the wrong place.
func readSecret(name string) (string, error) {
	if isPEM(name) {
		return "", errors.New("want the name of a file, not its text")
	}
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe without a writer would hold us up
	if err != nil {
		return "", reason(err)
	}
	defer f.Close()
	_ = f.SetReadDeadline(time.Now().Add(secretTime)) // of a pipe; files have none
	text, err := readBounded(f)
	if err != nil {
		return "", reason(err)
	}
	secret := trimmed(string(text))
	if secret == "" {
		return "", errors.New("the file holds nothing")
	}
	return secret, nil
}

// setting is what the variables say of f, and where, "" if nothing. The environment's go before those of the file, also
// where they are empty.
func (e environment) setting(f *kong.Flag) (value, from string, err error) {
	for _, l := range e.layers() {
		any := false
		for _, name := range names(f) {
			value, set, err := l.get(f, name)
			if value != "" || err != nil {
				return value, l.at(name), err
			}
			any = any || set
		}
		if any {
			break
		}
	}
	return "", "", nil
}

// variables reads the form of os.Environ. Of a name that comes twice the first one holds, as with os.Getenv.
func variables(environ []string) map[string]string {
	vars := make(map[string]string, len(environ))
	for _, text := range environ {
		name, value, _ := strings.Cut(text, "=")
		if _, twice := vars[name]; !twice {
			vars[name] = value
		}
	}
	return vars
}

// value is the setting that the variable holds, "" if none. Blanks and line ends around it are never meant: files of
// secrets end with one.
func (e environment) value(name string) string {
	if v := trimmed(e.vars[name]); !isServiceAddress(name, v) {
		return v
	}
	return ""
}

func trimmed(s string) string { return strings.Trim(s, " \t\r\n") }

// Kubernetes gives a pod variables for every service of its namespace, named after the service: one named hub, or
// hub-api, makes HUB_… ones, and one named ws makes WS_PORT. Docker's links do the same.
var (
	serviceName     = regexp.MustCompile(`_(SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?|PORT(?:_[0-9]+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?)$`)
	serviceProtocol = regexp.MustCompile(`^(tcp|udp|sctp)$`)
)

// isService reports whether the platform has set the variable: by its name, and by a value of the form that it sets there.
func isService(name, value string) bool {
	found := serviceName.FindStringSubmatch(name)
	if found == nil {
		return false
	}
	switch part := found[1]; {
	case part == "SERVICE_HOST", strings.HasSuffix(part, "_ADDR"):
		_, err := netip.ParseAddr(value)
		return err == nil
	case strings.HasSuffix(part, "_PROTO"):
		return serviceProtocol.MatchString(value)
	case strings.HasPrefix(part, "SERVICE_PORT"), strings.HasSuffix(part, "_PORT"):
		return isPortNumber(value)
	}
	protocol, rest, _ := strings.Cut(value, "://")
	host, port, err := net.SplitHostPort(rest)
	return err == nil && serviceProtocol.MatchString(protocol) && host != "" && isPortNumber(port)
}

func isPortNumber(text string) bool {
	n, err := strconv.ParseUint(text, 10, 16)
	return err == nil && n > 0
}

// isServiceAddress reports whether the platform has set the variable, with the address of a service, where a setting's
// name is the same.
func isServiceAddress(name, value string) bool {
	return strings.Contains(value, "://") && isService(name, value)
}

// notes are the variables that are set and do not say what their reader may think.
func (e environment) notes(flags []*kong.Flag) []string {
	var notes []string
	for _, f := range flags {
		for _, l := range e.layers() {
			for _, name := range names(f) {
				value, set := l.vars[name]
				switch value = trimmed(value); {
				case isServiceAddress(name, value):
					notes = append(notes, fmt.Sprintf("%s is ignored: it holds the address of a service, as Kubernetes sets it for a service of this name, and no setting. If it was meant as one, say --%s.", l.at(name), f.Name))
				case set && value == "" && f.Tag.Get("secret") != "":
					notes = append(notes, fmt.Sprintf("%s is set and empty, so --%s counts as not given.", l.at(name), f.Name))
				}
			}
		}
	}
	return notes
}

// unknown are, for each variable that looks like a setting and is none, a sentence with the nearest real name. The
// platform's own are none of them, nor are empty ones.
func (e environment) unknown(flags []*kong.Flag) []string {
	var known, sentences []string
	for _, f := range flags {
		known = append(known, names(f)...)
	}
	for _, l := range e.layers() {
		for name, value := range l.vars {
			value = trimmed(value)
			switch {
			case !strings.HasPrefix(name, "HUB_"), value == "", slices.Contains(known, name), isService(name, value):
				continue
			case name == envFileVariable && l.file == "":
				continue
			}
			text := l.at(name) + " is no setting of the hub"
			if near := nearest(name, known); near != "" {
				text += " (did you mean " + near + "?)"
			}
			sentences = append(sentences, text)
		}
	}
	slices.Sort(sentences)
	return sentences
}

// contradictions are, for each setting with two names that say different things in one place, a sentence.
func (e environment) contradictions(flags []*kong.Flag) (sentences []string) {
	for _, f := range flags {
		for _, l := range e.layers() {
			first, holds := "", ""
			for _, name := range names(f) {
				value, _, err := l.get(f, name)
				switch {
				case value == "" && err == nil:
				case first == "":
					first, holds = name, value
				case err != nil || value != holds:
					sentences = append(sentences, fmt.Sprintf("%s and %s both set --%s and differ: %s holds", l.at(first), l.at(name), f.Name, first))
				}
			}
		}
	}
	return sentences
}

// nearest is the one of known that takes the fewest changes to become name, of several one that ends in it; "" if more than
// half of it would change.
func nearest(name string, known []string) string {
	if slices.Contains(known, name+"_URL") { // other programs leave that out
		return name + "_URL"
	}
	best, least := "", len(name)
	for _, k := range known {
		own, other := strings.TrimPrefix(name, "HUB_"), strings.TrimPrefix(k, "HUB_")
		if d := distance(own, other); (d < least || d == least && strings.HasSuffix(other, "_"+own)) && 2*d <= max(len(own), len(other)) {
			best, least = k, d
		}
	}
	return best
}

// distance is how many letters must be put in, taken out, replaced or swapped with their neighbour to make a of b.
func distance(a, b string) int {
	var before, last []int // rows of the table for a[:i-2] and a[:i-1]
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, last, row = last, row, make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return row[len(b)]
}
