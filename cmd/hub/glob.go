package main

import (
	"errors"
	"regexp"
	"strings"
)

// maxGlob bounds a pattern, in bytes.
const maxGlob = 255

var errBadGlob = errors.New("want a name with * for anything, ? for one character, [abc], [!abc], [a-z], {one,two}, and \\ before such a character itself")

// globMatcher returns what reports whether a name matches pattern; all names do that match nothing but "".
func globMatcher(pattern string) (match func(name string) bool, err error) {
	if pattern == "" || pattern == "*" {
		return func(string) bool { return true }, nil
	}
	if len(pattern) > maxGlob {
		return nil, errBadGlob
	}
	expression, err := globExpression(pattern)
	if err != nil {
		return nil, err
	}
	compiled, err := regexp.Compile(expression)
	if err != nil {
		return nil, errBadGlob
	}
	return compiled.MatchString, nil
}

// globExpression writes pattern as a regular expression.
func globExpression(pattern string) (string, error) {
	var b strings.Builder
	b.WriteString(`(?s)\A`)
	inBraces := false
	for rest := []rune(pattern); len(rest) > 0; {
		c := rest[0]
		rest = rest[1:]
		switch {
		case c == '*':
			b.WriteString(`.*`)
		case c == '?':
			b.WriteByte('.')
		case c == '{' && !inBraces:
			inBraces = true
			b.WriteString(`(?:`)
		case c == '}' && inBraces:
			inBraces = false
			b.WriteByte(')')
		case c == ',' && inBraces:
			b.WriteByte('|')
		case c == '[':
			class, behind, ok := globClass(rest)
			if !ok {
				return "", errBadGlob
			}
			b.WriteString(class)
			rest = behind
		case c == '\\' && len(rest) > 0:
			b.WriteString(regexp.QuoteMeta(string(rest[0])))
			rest = rest[1:]
		case c == '\\' || c == '{' || c == '}':
			return "", errBadGlob
		default:
			b.WriteString(regexp.QuoteMeta(string(c)))
		}
	}
	if inBraces {
		return "", errBadGlob
	}
	b.WriteString(`\z`)
	return b.String(), nil
}

// globClass writes a class of characters, of which the bracket has been read.
func globClass(rest []rune) (class string, behind []rune, ok bool) {
	var b strings.Builder
	b.WriteByte('[')
	if len(rest) > 0 && rest[0] == '!' {
		b.WriteByte('^')
		rest = rest[1:]
	}
	for i, c := range rest {
		switch {
		case c == ']' && i > 0:
			b.WriteByte(']')
			return b.String(), rest[i+1:], true
		case c == '-' && i > 0 && i+1 < len(rest) && rest[i+1] != ']':
			b.WriteByte('-')
		case c == '[' || c == ']' || c == '^' || c == '\\' || c == '-':
			b.WriteByte('\\')
			b.WriteRune(c)
		default:
			b.WriteRune(c)
		}
	}
	return "", nil, false
}
