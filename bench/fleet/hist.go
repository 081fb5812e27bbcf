package fleet

import (
	"encoding/json"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

const (
	histTop    = int64(10 * time.Minute / time.Microsecond) // longer counts as this long
	histDigits = 3
)

// Hist is an HdrHistogram of durations, in microseconds with three significant digits. As JSON it is
// the base64 text that every HdrHistogram tool reads.
type Hist struct{ h *hdrhistogram.Histogram }

// NewHist returns an empty histogram.
func NewHist() *Hist { return &Hist{hdrhistogram.New(1, histTop, histDigits)} }

// Record counts one duration in nanoseconds. Those below 1 µs count as 1 µs.
func (h *Hist) Record(ns int64) {
	us := min(max(ns/1000, 1), histTop)
	_ = h.h.RecordValue(us) // within range by the line above
}

// At returns the value at quantile percent, 0 to 100; 0 when nothing was recorded.
func (h *Hist) At(percent float64) time.Duration {
	if h.Count() == 0 {
		return 0
	}
	return time.Duration(h.h.ValueAtPercentile(percent)) * time.Microsecond
}

// Max returns the largest value.
func (h *Hist) Max() time.Duration { return h.At(100) }

// Count returns how many were recorded; a nil Hist has none.
func (h *Hist) Count() int64 {
	if h == nil {
		return 0
	}
	return h.h.TotalCount()
}

// Merge adds what o holds; o may be nil.
func (h *Hist) Merge(o *Hist) {
	if o != nil {
		h.h.Merge(o.h)
	}
}

// plus merges o into h and returns it, or whichever of them is not nil.
func (h *Hist) plus(o *Hist) *Hist {
	if h == nil {
		return o
	}
	h.Merge(o)
	return h
}

func (h *Hist) MarshalJSON() ([]byte, error) {
	text, err := h.h.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	if err != nil {
		return nil, err
	}
	return json.Marshal(string(text))
}

func (h *Hist) UnmarshalJSON(b []byte) error {
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		return err
	}
	decoded, err := hdrhistogram.Decode([]byte(text))
	if err != nil {
		return err
	}
	h.h = decoded
	return nil
}
