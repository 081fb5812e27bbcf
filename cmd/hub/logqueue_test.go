package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
)

// paper is a log that somebody reads, or not.
type paper struct {
	mu     sync.Mutex
	text   bytes.Buffer
	broken bool
	stuck  chan struct{} // a write waits until it is closed
}

func (p *paper) Write(b []byte) (int, error) {
	p.mu.Lock()
	stuck, broken := p.stuck, p.broken
	p.mu.Unlock()
	if stuck != nil {
		<-stuck
	}
	if broken {
		return 0, errors.New("broken pipe")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.Write(b)
}

func (p *paper) set(broken bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.broken = broken
}

func (p *paper) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String()
}

// logged runs a queue that writes to p, in a bubble of synctest, and returns when it has ended.
func logged(t *testing.T, p *paper, f func(q *logQueue, log zerolog.Logger)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		q := newLogQueue(p)
		log := zerolog.New(q)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- q.Run(ctx, log) }()
		f(q, log)
		cancel()
		begin := time.Now()
		if err := <-ended; err != nil || time.Since(begin) > logPatience {
			t.Errorf("the end takes %v: %v", time.Since(begin), err)
		}
		if p.stuck != nil {
			close(p.stuck)
		}
		synctest.Wait()
	})
}

func TestLinesAreWrittenInTheirOrderAndTheLastOnesToo(t *testing.T) {
	p := &paper{}
	logged(t, p, func(_ *logQueue, log zerolog.Logger) {
		for i := range 1000 {
			log.Info().Int("i", i).Send()
		}
	})
	var want strings.Builder
	log := zerolog.New(&want)
	for i := range 1000 {
		log.Info().Int("i", i).Send()
	}
	if p.String() != want.String() {
		t.Errorf("the log is\n%s", p)
	}
}

func TestALogThatNobodyReadsHoldsUpNobody(t *testing.T) {
	p := &paper{}
	logged(t, p, func(q *logQueue, log zerolog.Logger) {
		p.stuck = make(chan struct{}) // of the bubble
		begin := time.Now()
		for range 10_000 {
			log.Info().Str("text", strings.Repeat("x", 1000)).Send()
		}
		if time.Since(begin) != 0 {
			t.Errorf("10,000 lines took %v", time.Since(begin))
		}
		if held := q.queued.Load(); held > logBytes || len(q.lines) > logLines {
			t.Errorf("%d bytes in %d lines wait", held, len(q.lines))
		}
		for range 10_000 {
			log.Info().Send()
		}
		if len(q.lines) > logLines {
			t.Errorf("%d lines wait", len(q.lines))
		}
		if q.Lost() < 15_000 {
			t.Errorf("%d lines are counted as lost", q.Lost())
		}
	})
}

func TestALogThatIsWrittenAgainSaysHowMuchIsMissing(t *testing.T) {
	p := &paper{broken: true}
	logged(t, p, func(q *logQueue, log zerolog.Logger) {
		for range 3 {
			log.Info().Msg("lost")
		}
		synctest.Wait()
		if q.Lost() != 3 || p.String() != "" {
			t.Errorf("%d lost: %s", q.Lost(), p)
		}
		p.set(false)
		log.Info().Msg("written")
		synctest.Wait()
		if s := p.String(); !strings.Contains(s, `"lines":3`) || strings.Contains(s, `"lost"`) || strings.Count(s, "\n") != 2 || q.Lost() != 3 {
			t.Errorf("%d lost: %s", q.Lost(), s)
		}
		log.Info().Msg("more")
		synctest.Wait()
		if s := p.String(); strings.Count(s, `"lines"`) != 1 {
			t.Error(s)
		}
	})
}
