package token

import (
	"strings"
	"unicode/utf8"
)

// maxTopic and maxUser are the longest topic name, and the longest user that fits in one behind "user:".
const (
	maxTopic = 255
	maxUser  = maxTopic - len("user:")
)

// validName reports whether name has 1 to limit bytes of UTF-8 and no control characters. U+FFFD is refused with
// all that is no UTF-8: it is what JSON makes of broken text, so different names would become the same.
func validName(name string, limit int) bool {
	return name != "" && len(name) <= limit && !strings.ContainsFunc(name, unfit)
}

func unfit(r rune) bool { return r < 0x20 || r >= 0x7f && r < 0xa0 || r == utf8.RuneError }
