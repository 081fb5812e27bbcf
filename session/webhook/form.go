package webhook

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"wshub/pubsub"
)

// Form is how an endpoint gets batches. Its methods are called from any goroutine.
type Form interface {
	// Reader tells it from others that post to the same URL: each has a position of its own. It never changes.
	Reader() string
	// Body is the body of a request for a batch, nil if there is nothing in it to post; events is how many the endpoint gets by it.
	Body(b *pubsub.LifecycleBatch) (body []byte, events int)
	// Sign adds to the header of a request whatever proves who has sent it. The headers webhook-id and webhook-fence are there already.
	Sign(header http.Header, body []byte, now time.Time)
}

// Endpoint is a URL that gets batches in a form of its own.
type Endpoint struct {
	// URL is as ParseURL reads it.
	URL  *url.URL
	Form Form
}

// standard is the form of Standard Webhooks: entries as they stand in their stream.
type standard struct {
	events  []string // types, none: all
	secrets func() []Secret
}

// Reader implements Form.
func (standard) Reader() string { return "" }

// Body implements Form. Entries stand in it as they stand in the stream: < is no \u003c. A loss is posted, too.
func (f standard) Body(b *pubsub.LifecycleBatch) (body []byte, events int) {
	entries := f.chosen(b.Entries)
	if len(entries) == 0 && b.Lost == 0 {
		return nil, 0
	}
	list := make([]json.RawMessage, len(entries))
	for i, e := range entries {
		list[i] = e.Event
	}
	var text bytes.Buffer
	to := json.NewEncoder(&text)
	to.SetEscapeHTML(false)
	err := to.Encode(struct {
		Stream string            `json:"stream"`
		Fence  uint64            `json:"fence"`
		Lost   uint64            `json:"lost,omitempty"`
		Events []json.RawMessage `json:"events"`
	}{b.Stream, b.Fence, b.Lost, list})
	if err != nil { // an entry that is no JSON, which pubsub hands to nobody
		return []byte(`{"events":[]}`), 0
	}
	return bytes.TrimSuffix(text.Bytes(), []byte("\n")), len(entries)
}

// chosen are the entries of types that are posted.
func (f standard) chosen(entries []pubsub.LifecycleEntry) []pubsub.LifecycleEntry {
	if len(f.events) == 0 {
		return entries
	}
	return slices.DeleteFunc(slices.Clone(entries), func(e pubsub.LifecycleEntry) bool {
		var head struct {
			Type string `json:"type"`
		}
		_ = json.Unmarshal(e.Event, &head) // pubsub has read it before
		return head.Type != Reset && !slices.Contains(f.events, head.Type)
	})
}

// Sign implements Form.
func (f standard) Sign(header http.Header, body []byte, now time.Time) {
	header.Set("Webhook-Timestamp", strconv.FormatInt(now.Unix(), 10))
	header.Set("Webhook-Signature", sign(f.secrets(), header.Get("Webhook-Id"), now, body))
}
