package bench

import (
	"encoding/json"
	"regexp"
	"strings"
)

// hidden stands in place of a secret.
const hidden = "***"

// secretFlags have values that no report may show.
var secretFlags = []string{"--header", "--api-key", "--token", "--jwt-secret", "--token-secret", "--pusher-app"}

// Patterns of text that holds a secret; the first group stays.
var (
	secretValue = regexp.MustCompile(`(?i)([a-z0-9_-]*(?:key|secret|token|passw|passphrase|credential)[a-z0-9_-]*=)(?:"[^"]*"|'[^']*'|[^\s'"&]+)`)
	secretWord  = regexp.MustCompile(`(?i)(--[a-z0-9-]*(?:key|secret|token|passw|passphrase|credential|header)[a-z0-9-]*\s+)(?:"[^"]*"|'[^']*'|[^\s'"-][^\s'"]*)`)
	userinfo    = regexp.MustCompile(`(://)[^\s'"]*@`)
	queryValue  = regexp.MustCompile(`([?&]([A-Za-z0-9_.~%-]+)=)[^\s'"&]+`)
	bearer      = regexp.MustCompile(`(?i)(bearer[ .])[^\s'",]+`)
	jwtText     = regexp.MustCompile(`()\beyJ[\w-]+\.[\w-]+(?:\.[\w-]*)?`)
)

// openQuery are the names in a URL's query whose values are no secrets.
var openQuery = map[string]bool{"topic": true, "user": true, "since": true}

// mask returns text with hidden in place of each secret that it can recognize: values of flags and variables whose
// names say so, the user and password of a URL, all values of its query but those of openQuery, and JWTs.
func mask(text string) string {
	if strings.Contains(text, "://") {
		text = userinfo.ReplaceAllString(text, "${1}"+hidden+"@")
		text = queryValue.ReplaceAllStringFunc(text, func(pair string) string {
			part := queryValue.FindStringSubmatch(pair)
			if openQuery[part[2]] {
				return pair
			}
			return part[1] + hidden
		})
	}
	for _, pattern := range []*regexp.Regexp{secretValue, bearer, jwtText} {
		text = pattern.ReplaceAllString(text, "${1}"+hidden)
	}
	return text
}

// maskCommand is mask for a command line, where the value of a flag may also be the next word.
func maskCommand(text string) string {
	return mask(secretWord.ReplaceAllString(text, "${1}"+hidden))
}

// masked returns a command line without its secrets.
func masked(args []string) []string {
	out := make([]string, 0, len(args))
	hide := false
	for _, a := range args {
		shown := maskCommand(a)
		if hide {
			shown, hide = hidden, false
		}
		for _, flag := range secretFlags {
			if a == flag {
				hide = true
			} else if strings.HasPrefix(a, flag+"=") {
				shown = flag + "=" + hidden
			}
		}
		out = append(out, shown)
	}
	return out
}

// guarded is a setting that may hold a secret. Reports and messages show it masked; string(g) is the whole.
type guarded string

func (g guarded) String() string               { return maskCommand(string(g)) }
func (g guarded) MarshalJSON() ([]byte, error) { return json.Marshal(g.String()) }

// HideSecrets returns a copy of args, and overwrites the secrets in args' own memory, which ps shows. It is for main:
// args must be those of the process.
func HideSecrets(args []string) []string {
	own := make([]string, len(args))
	for i, a := range args {
		own[i] = strings.Clone(a)
	}
	for i, shown := range masked(own) {
		if shown != own[i] {
			overwrite(args[i], shown)
		}
	}
	return own
}

// shellCommand returns the words of a command line so that it can be pasted into a shell, without its secrets.
func shellCommand(args []string) []string {
	words := []string{"hubbench"}
	for _, a := range masked(args) {
		name, value, isFlag := strings.Cut(a, "=")
		if isFlag && strings.HasPrefix(a, "--") {
			words = append(words, name+"="+shellWord(value))
		} else {
			words = append(words, shellWord(a))
		}
	}
	return words
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./-]+$`)

func shellWord(s string) string {
	if plainWord.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
