// Package probe defines the events that hubbench publishes. Each one tells which run, topic and place
// in the topic it belongs to and when it should have been sent, and carries a checksum over that: a
// receiver needs nothing else to judge whether it arrived once, in order, whole and how late.
//
//	{"run":"k3","topic":"news","seq":17,"at":81234567890,"pad":"id:482","sum":"8d2c1f00"}
package probe

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"strconv"
	"sync"
)

var (
	// ErrForeign means that the bytes are no event of this run.
	ErrForeign = errors.New("not an event of this run")
	// ErrCorrupt means that the bytes began as an event of this run and were changed on the way.
	ErrCorrupt = errors.New("event was changed on its way")
)

// Event is what one published event says about itself.
type Event struct {
	Topic string // without characters that JSON escapes
	Seq   uint64 // 1 for the first event of its topic
	At    int64  // when it should have been sent, by Now
}

const (
	head    = `{"run":"`
	sumHead = `,"sum":"`
	tailLen = len(sumHead) + 8 + len(`"}`)
)

// Append appends e as compact JSON, padded to size bytes where it is shorter. It is at most about
// 110 bytes longer than run and topic.
func Append(dst []byte, run string, e Event, size int) []byte {
	start := len(dst)
	dst = append(dst, head...)
	dst = append(dst, run...)
	dst = append(dst, `","topic":"`...)
	dst = append(dst, e.Topic...)
	dst = append(dst, `","seq":`...)
	dst = strconv.AppendUint(dst, e.Seq, 10)
	dst = append(dst, `,"at":`...)
	dst = strconv.AppendInt(dst, e.At, 10)
	dst = append(dst, `,"pad":"`...)
	dst = appendFiller(dst, e.Seq, size-(len(dst)-start)-1-tailLen)
	dst = append(dst, '"')
	sum := crc32.ChecksumIEEE(dst[start:])
	dst = append(dst, sumHead...)
	for shift := 28; shift >= 0; shift -= 4 {
		dst = append(dst, "0123456789abcdef"[sum>>shift&15])
	}
	return append(dst, `"}`...)
}

// filler is text that compresses as orders in JSON do, to some 30 %: records of numbers and a few words. It has no character
// that JSON escapes.
var filler = sync.OnceValue(func() []byte {
	r := rand.New(rand.NewPCG(1, 2))
	states := []string{"open", "paid", "shipped", "cancelled"}
	var b []byte
	for len(b) < 64<<10 {
		b = fmt.Appendf(b, "{id:%d,customer:%x,status:%s,price:%d.%02d,currency:EUR},", r.IntN(1e9), r.Uint64(), states[r.IntN(4)], r.IntN(500), r.IntN(100))
	}
	return b
})

// appendFiller appends n bytes, others for each seq.
func appendFiller(dst []byte, seq uint64, n int) []byte {
	text := filler()
	for at := int(seq * 977 % uint64(len(text))); n > 0; at = 0 {
		part := text[at:min(at+n, len(text))]
		dst = append(dst, part...)
		n -= len(part)
	}
	return dst
}

// Decode reads what Append wrote for run. Its errors are ErrForeign and ErrCorrupt. The topic shares no
// memory with data.
func Decode(data []byte, run string) (Event, error) {
	rest, ok := bytes.CutPrefix(data, []byte(head))
	if !ok || len(rest) < len(run)+1 || string(rest[:len(run)]) != run || rest[len(run)] != '"' {
		return Event{}, ErrForeign
	}
	if !sumFits(data) {
		return Event{}, ErrCorrupt
	}
	var e Event
	var seq, at string
	rest = rest[len(run):]
	e.Topic, rest = between(rest, `","topic":"`, '"')
	seq, rest = between(rest, `"seq":`, ',')
	at, _ = between(rest, `"at":`, ',')
	var err, err2 error
	e.Seq, err = strconv.ParseUint(seq, 10, 64)
	e.At, err2 = strconv.ParseInt(at, 10, 64)
	if err != nil || err2 != nil || e.Seq == 0 || e.Topic == "" {
		return Event{}, ErrCorrupt
	}
	return e, nil
}

func sumFits(data []byte) bool {
	at := len(data) - tailLen
	if at < 0 || !bytes.HasPrefix(data[at:], []byte(sumHead)) || !bytes.HasSuffix(data, []byte(`"}`)) {
		return false
	}
	sum, err := strconv.ParseUint(string(data[at+len(sumHead):at+len(sumHead)+8]), 16, 32)
	return err == nil && uint32(sum) == crc32.ChecksumIEEE(data[:at])
}

// between returns what stands in b between the leading open and the next end, and what follows end
// (and a comma behind it).
func between(b []byte, open string, end byte) (string, []byte) {
	b, ok := bytes.CutPrefix(b, []byte(open))
	if !ok {
		return "", nil
	}
	inner, rest, ok := bytes.Cut(b, []byte{end})
	if !ok {
		return "", nil
	}
	return string(inner), bytes.TrimPrefix(rest, []byte{','})
}
