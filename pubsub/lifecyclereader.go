package pubsub

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"
)

// LifecycleReader reads the lifecycle streams for one purpose: each entry at least once, those of a stream in order. All instances
// that Deliver a reader of the same Name share the streams. One of them reads a stream at a time; another one takes over within
// 15 s when it dies, and at once when it ends in order.
type LifecycleReader struct {
	// Name stands in keys, for the reader's positions are kept under it: ValidReader holds it to a form. A reader of a new name
	// begins with the oldest entries that are kept. Positions that no instance reads on from are forgotten after 30 days.
	Name string
	// Handle is called with the next batch of a stream, by up to 8 goroutines, and by one at a time for each stream. It returns 0
	// when it is done with the batch, or else how long to wait before it gets the same batch again; other streams go on
	// meanwhile. Ctx ends when another instance may read the stream, or Deliver ends: unless Handle is done with the batch, it then
	// returns another number than 0, and the batch goes to who reads on.
	Handle func(ctx context.Context, b *LifecycleBatch) (again time.Duration)

	streams atomic.Int64
	oldest  atomic.Int64 // Unix milliseconds, 0 for none
}

// LifecycleBatch is some entries of a stream, one after the other.
type LifecycleBatch struct {
	// ID is the same each time that the batch is handed out, by other instances too: 32 hexadecimal digits.
	ID string
	// Stream is the name of the stream.
	Stream string
	// Fence goes up each time that another instance begins to read the stream. It is at least the time in Unix milliseconds
	// when that was, so it goes up over lost data, too; at a failover as long as clocks differ by less than it takes.
	Fence uint64
	// Since is when the batch was handed out first.
	Since time.Time
	// Tries is how often this instance has handed it out before.
	Tries int
	// Entries are 1 to 100, together 256 KiB at most or one.
	Entries []LifecycleEntry
	// Lost is the number of entries before or among these that were trimmed before anybody read them.
	Lost uint64
}

const (
	// batchEntries and batchBytes bound a batch.
	batchEntries, batchBytes = 100, 256 << 10
	// lifecycleField has an entry's JSON.
	lifecycleField = "event"
	// maxReaderName bounds a reader's name in bytes.
	maxReaderName = 64
)

// ValidReader reports whether name can be a LifecycleReader's: 1 to 64 bytes of letters, digits, "-", "_" and ".".
func ValidReader(name string) bool { return len(name) <= maxReaderName && isName(name) }

// Streams is the number of streams that this instance reads now.
func (l *LifecycleReader) Streams() int { return int(l.streams.Load()) }

// Lag is the age of the oldest entry that was handed out in this instance and that Handle is not done with, 0 without one.
func (l *LifecycleReader) Lag() time.Duration {
	oldest := l.oldest.Load()
	if oldest == 0 {
		return 0
	}
	return max(time.Since(time.UnixMilli(oldest)), 0)
}

// readPoint is how far a reader has come in a stream.
type readPoint struct {
	position string // the ID of the last entry that was handled, "" before the first
	seq      uint64 // that entry's
	upto     string // the last ID of the batch that is under way, "" for none
}

// lifecycleHead is the part of an entry that a reader looks at.
type lifecycleHead struct {
	Seq  uint64 `json:"seq"`
	Type string `json:"type"`
	Time int64  `json:"time"`
}

// batch makes one of the entries that follow at, as many as fit. bad counts entries that are none of a hub's, which are left out; seq
// and last are those of the last entry that was looked at; oldest is the time of the first one.
func (at readPoint) batch(stream string, entries []LifecycleEntry) (b *LifecycleBatch, next readPoint, oldest int64, bad int) {
	b = &LifecycleBatch{Stream: stream}
	next = readPoint{position: at.position, seq: at.seq}
	bytes := 0
	for _, e := range entries {
		var head lifecycleHead
		if len(e.Event) > MaxLifecycleEvent || !utf8.Valid(e.Event) || json.Unmarshal(e.Event, &head) != nil || head.Type == "" {
			bad++
			next.position = e.ID
			continue
		}
		if bytes += len(e.Event); len(b.Entries) == batchEntries || len(b.Entries) > 0 && bytes > batchBytes {
			break
		}
		// A reader that is new has lost nothing. A stream that begins anew counts on from less than before.
		if next.position != "" && head.Seq > next.seq+1 && next.seq > 0 {
			b.Lost += head.Seq - next.seq - 1
		}
		if oldest == 0 {
			oldest = head.Time
		}
		b.Entries = append(b.Entries, e)
		next.position, next.seq = e.ID, head.Seq
	}
	sum := sha256.Sum256([]byte(strings.Join([]string{stream, at.position, next.position}, "\x00")))
	b.ID = hex.EncodeToString(sum[:16])
	return b, next, oldest, bad
}
