package bench

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/schollz/progressbar/v3"
)

// progress shows a person the state of a run.
type progress interface {
	// phase begins something that takes total steps; 0: nobody knows how many.
	phase(name string, total int)
	// set says how many steps are done.
	set(done int)
	// line says how things stand.
	line(text string)
	// end ends the phase.
	end()
}

// newProgress returns a bar on a terminal, and otherwise plain lines, one now and then.
func newProgress(w io.Writer) progress {
	if f, ok := w.(*os.File); ok && isatty.IsTerminal(f.Fd()) {
		return &bar{w: w}
	}
	return &lines{w: w}
}

type bar struct {
	w    io.Writer
	name string
	bar  *progressbar.ProgressBar
}

func (b *bar) phase(name string, total int) {
	if total == 0 {
		total = -1
	}
	b.name = name
	b.bar = progressbar.NewOptions(total,
		progressbar.OptionSetWriter(b.w), progressbar.OptionSetDescription(name),
		progressbar.OptionClearOnFinish(), progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionShowCount(), progressbar.OptionSetWidth(24))
}

func (b *bar) set(done int) {
	if b.bar != nil {
		_ = b.bar.Set(done) // fails beyond total only
	}
}

func (b *bar) line(text string) {
	if b.bar == nil {
		_, _ = fmt.Fprintln(b.w, text) // a terminal that went away is no reason to stop
		return
	}
	b.bar.Describe(b.name + ": " + text)
	_ = b.bar.Add(0) // draws
}

func (b *bar) end() {
	if b.bar != nil {
		_ = b.bar.Finish() // draws
	}
	b.bar = nil
}

type lines struct {
	w    io.Writer
	name string
	last time.Time
}

// linesApart keeps a log readable.
const linesApart = 5 * time.Second

func (l *lines) phase(name string, _ int) { l.name, l.last = name, time.Now() }
func (l *lines) set(int)                  {}
func (l *lines) end()                     { l.name = "" }

func (l *lines) line(text string) {
	switch {
	case l.name == "":
		_, _ = fmt.Fprintln(l.w, text) // nobody to tell that nobody listens
	case time.Since(l.last) >= linesApart:
		l.last = time.Now()
		_, _ = fmt.Fprintln(l.w, l.name+": "+text) // as above
	}
}
