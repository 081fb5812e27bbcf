package session

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxTopicName is the longest topic name in bytes.
const maxTopicName = 255

// userPrefix begins a user's own topic.
const userPrefix = "user:"

var errBadTopic = errors.New("bad topic")

// validateTopic returns nil for a topic name: 1 to 255 bytes of UTF-8 without control characters and U+FFFD.
func validateTopic(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%w: the name is empty", errBadTopic)
	case len(name) > maxTopicName:
		return fmt.Errorf("%w: the name has %d bytes, at most %d are allowed", errBadTopic, len(name), maxTopicName)
	case !utf8.ValidString(name):
		return fmt.Errorf("%w: the name is not UTF-8", errBadTopic)
	case strings.ContainsFunc(name, isControl):
		return fmt.Errorf("%w: the name has a control character", errBadTopic)
	case strings.ContainsRune(name, utf8.RuneError): // JSON makes it of broken text, so different names would be one
		return fmt.Errorf("%w: the name has a broken character, or U+FFFD", errBadTopic)
	}
	return nil
}

func isControl(r rune) bool { return r < 0x20 || r >= 0x7f && r < 0xa0 }

// validateUser returns nil for a user's name that makes a topic name behind userPrefix.
func validateUser(user string) error {
	if user == "" {
		return errors.New("the user's name is empty")
	}
	if err := validateTopic(userPrefix + user); err != nil {
		return errors.New("the user's name is not up to 250 bytes of UTF-8 without control characters")
	}
	return nil
}
