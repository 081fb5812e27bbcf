package pubsub

import (
	"bytes"
	"slices"
	"strings"
	"sync"

	"github.com/rs/zerolog"
)

// lines is a log that tests read.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) logger() zerolog.Logger { return zerolog.New(l) }

func (l *lines) contains(text string) bool { return l.count(text) > 0 }

// count is the number of times that text was logged.
func (l *lines) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), text)
}

// containsLine reports whether there is a line with all of parts.
func (l *lines) containsLine(parts ...string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.text.String()) {
		if !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(line, part) }) {
			return true
		}
	}
	return false
}
