package bench

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/mattn/go-isatty"
	"golang.org/x/sys/unix"
)

// progress shows a person the state of a run. Phases follow each other; a phase moves by set, or with the time.
type progress interface {
	// phase begins something that takes total steps.
	phase(name string, total int)
	// span begins something that takes d; 0: nobody knows.
	span(name string, d time.Duration)
	// set says how many steps are done.
	set(done int)
	// tick lets a phase of time move.
	tick()
	// line says how things stand.
	line(text string)
	// end ends the phase.
	end()
}

// newProgress returns a bar on a terminal, and otherwise plain lines, one now and then.
func newProgress(w io.Writer) progress {
	if f, ok := w.(*os.File); ok && isatty.IsTerminal(f.Fd()) && os.Getenv("TERM") != "dumb" {
		return &bar{w: w, width: func() int { return terminalWidth(f) }, now: time.Now}
	}
	return &lines{w: w}
}

// terminalWidth is asked anew for each drawing: windows change their size.
func terminalWidth(f *os.File) int {
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil || size.Col == 0 {
		return columns
	}
	return int(size.Col)
}

// bar draws one line that it draws over: name, bar, share, time or count, and how things stand.
type bar struct {
	w     io.Writer
	width func() int
	now   func() time.Time

	name        string // empty: no phase
	done, total int
	lasts       time.Duration
	began, last time.Time
	stands      string
}

const (
	drawApart = 100 * time.Millisecond
	barCells  = 12
)

func (b *bar) phase(name string, total int) {
	b.name, b.done, b.total, b.lasts = name, 0, total, 0
	b.began, b.stands = b.now(), ""
	b.draw()
}

func (b *bar) span(name string, d time.Duration) {
	b.phase(name, 0)
	b.lasts = d
}

func (b *bar) set(done int) {
	b.done = done
	b.tick()
}

func (b *bar) tick() {
	if b.name != "" && b.now().Sub(b.last) >= drawApart {
		b.draw()
	}
}

func (b *bar) line(text string) {
	if b.name == "" {
		_, _ = fmt.Fprintln(b.w, wrap(text, "")) // a terminal that went away is no reason to stop
		return
	}
	b.stands = text
	b.draw()
}

func (b *bar) end() {
	if b.name != "" {
		_, _ = io.WriteString(b.w, "\r\x1b[K") // as above
	}
	b.name = ""
}

func (b *bar) draw() {
	b.last = b.now()
	_, _ = io.WriteString(b.w, "\r"+b.text(b.width()-1)+"\x1b[K") // as above; the last column would wrap
}

// text is the line in at most width columns. The narrower it is, the less is said: first how things stand is cut, then
// the bar is left out.
func (b *bar) text(width int) string {
	elapsed := b.now().Sub(b.began)
	share, amount := -1.0, elapsed.Round(time.Second).String()
	switch {
	case b.total > 0:
		share, amount = float64(b.done)/float64(b.total), fmt.Sprintf("%d/%d", b.done, b.total)
	case b.lasts > 0:
		share = elapsed.Seconds() / b.lasts.Seconds()
		amount = fmt.Sprintf("%s/%s", min(elapsed, b.lasts).Round(time.Second), b.lasts)
	}
	text := b.name
	if share >= 0 {
		share = min(max(share, 0), 1)
		full := int(share * barCells)
		if drawn := strings.Repeat("█", full) + strings.Repeat("░", barCells-full); utf8.RuneCountInString(text)+barCells+20 <= width {
			text += " " + drawn
		}
		text += fmt.Sprintf(" %.0f%%", 100*share)
	}
	text += " " + amount
	if b.stands != "" {
		text += "  " + b.stands
	}
	return clip(text, width)
}

type lines struct {
	w    io.Writer
	name string
	last time.Time
}

// linesApart keeps a log readable.
const linesApart = 5 * time.Second

func (l *lines) phase(name string, _ int)          { l.name, l.last = name, time.Now() }
func (l *lines) span(name string, _ time.Duration) { l.phase(name, 0) }
func (l *lines) set(int)                           {}
func (l *lines) tick()                             {}
func (l *lines) end()                              { l.name = "" }

func (l *lines) line(text string) {
	switch {
	case l.name == "":
		_, _ = fmt.Fprintln(l.w, wrap(text, "")) // nobody to tell that nobody listens
	case time.Since(l.last) >= linesApart:
		l.last = time.Now()
		_, _ = fmt.Fprintln(l.w, wrap(l.name+": "+text, "")) // as above
	}
}
