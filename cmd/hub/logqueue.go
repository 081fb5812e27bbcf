package main

import (
	"bytes"
	"context"
	"io"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
)

const (
	// logLines and logBytes bound what waits for a slow reader of the log.
	logLines = 4096
	logBytes = 1 << 20
	// logPatience is how long the last lines may take when the hub ends.
	logPatience = time.Second
)

// logQueue stands between those who log, event loops among them, and a log that is slow, stuck or gone: a closed
// terminal, a pipe that nobody reads, a full disk. Write never blocks and never fails. A line that finds no room, or
// can't be written, is lost and counted, and the log says so as soon as it can be written again.
type logQueue struct {
	to     io.Writer
	lines  chan []byte
	queued atomic.Int64 // bytes in lines
	lost   atomic.Uint64
	told   uint64 // of lost, what the log knows; the writing goroutine's
}

func newLogQueue(to io.Writer) *logQueue {
	return &logQueue{to: to, lines: make(chan []byte, logLines)}
}

// Write queues p, which is one line or several whole ones.
func (q *logQueue) Write(p []byte) (int, error) {
	if q.queued.Add(int64(len(p))) <= logBytes {
		select {
		case q.lines <- bytes.Clone(p):
			return len(p), nil
		default:
		}
	}
	q.queued.Add(-int64(len(p)))
	q.lost.Add(1)
	return len(p), nil
}

// Lost is how many lines were never written.
func (q *logQueue) Lost() uint64 { return q.lost.Load() }

// Run writes lines until ctx ends, and then those that are queued. A write that the system holds up for longer than
// logPatience is left behind: nothing can end it but the end of the process. log is what q is the writer of.
func (q *logQueue) Run(ctx context.Context, log zerolog.Logger) error {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		q.write(ctx, log)
	}()
	<-ctx.Done()
	late := time.NewTimer(logPatience)
	defer late.Stop()
	select {
	case <-ended:
	case <-late.C:
	}
	return nil
}

func (q *logQueue) write(ctx context.Context, log zerolog.Logger) {
	for {
		select {
		case line := <-q.lines:
			q.put(line, log)
			continue
		default:
		}
		select {
		case line := <-q.lines:
			q.put(line, log)
		case <-ctx.Done():
			if len(q.lines) == 0 {
				return
			}
		}
	}
}

func (q *logQueue) put(line []byte, log zerolog.Logger) {
	_, err := q.to.Write(line)
	q.queued.Add(-int64(len(line)))
	if err != nil {
		q.lost.Add(1)
		return
	}
	if n := q.lost.Load(); n > q.told {
		log.Warn().Uint64("lines", n-q.told).Msg("lines of this log are missing: it could not be written, or was not read")
		q.told = n
	}
}
