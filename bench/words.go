package bench

import (
	"errors"
	"fmt"
	"strings"
)

// splitWords splits a command line at blanks. Quotes, single or double, keep blanks in a word; inside
// them nothing else is special.
func splitWords(line string) ([]string, error) {
	var words []string
	var word strings.Builder
	var quote rune
	inWord := false
	for _, r := range line {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '\'' || r == '"':
			quote, inWord = r, true
		case r == ' ' || r == '\t':
			if inWord {
				words = append(words, word.String())
				word.Reset()
			}
			inWord = false
		default:
			word.WriteRune(r)
			inWord = true
		}
	}
	if quote != 0 {
		return nil, errors.New("quote without an end")
	}
	if inWord {
		words = append(words, word.String())
	}
	return words, nil
}

// parseScenarios reads a scenario file: one scenario a line, with its flags as on the command line. '#' at
// the start of a line begins a comment.
func parseScenarios(text string) ([][]string, error) {
	var all [][]string
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		words, err := splitWords(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		if strings.HasPrefix(words[0], "-") {
			return nil, fmt.Errorf("line %d: %q where the name of a scenario belongs", number, words[0])
		}
		all = append(all, words)
	}
	if len(all) == 0 {
		return nil, errors.New("no scenario in it")
	}
	return all, nil
}
