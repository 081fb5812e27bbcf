package bench

import (
	"strings"
	"unicode/utf8"
)

// columns is how wide lines for people may be.
const columns = 80

// wrap breaks text at blanks, so that no line is wider than columns unless one word is. The first line begins with
// indent, the others with as many blanks and two more.
func wrap(text, indent string) string {
	var b strings.Builder
	at := 0
	rest := strings.Repeat(" ", utf8.RuneCountInString(indent)+2)
	for line := range strings.Lines(text) {
		for i, word := range strings.Fields(line) {
			n := utf8.RuneCountInString(word)
			switch {
			case at == 0:
				b.WriteString(indent)
				at = utf8.RuneCountInString(indent)
			case i == 0 || at+1+n > columns:
				b.WriteString("\n" + rest)
				at = len(rest)
			default:
				b.WriteByte(' ')
				at++
			}
			b.WriteString(word)
			at += n
		}
	}
	return b.String()
}

// clip shortens text to n columns.
func clip(text string, n int) string {
	if utf8.RuneCountInString(text) <= n {
		return text
	}
	return string([]rune(text)[:max(0, n-1)]) + "…"
}
