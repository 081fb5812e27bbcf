package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"wshub/pubsub"
)

// counting counts what was read of a body.
type counting struct {
	io.Reader
	n int
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += n
	return n, err
}

func publisher(t *testing.T, args ...string) publishAPI {
	t.Helper()
	return newPublishAPI(parsed(t, nil, args...).cfg, func(_ context.Context, batch []pubsub.Publication) ([]pubsub.Result, error) {
		return make([]pubsub.Result, len(batch)), nil
	})
}

func post(body io.Reader) *http.Request {
	r := httptest.NewRequest("POST", "/api/publish", body)
	r.Header.Set("Content-Type", "application/json")
	return r
}

// many is an array of n events, each as long as event.
func many(event string, n int) string {
	return "[" + strings.Repeat(event+",", n-1) + event + "]"
}

// manyTags are the members of an object of n texts.
func manyTags(n int) string {
	var tags []byte
	for i := range n {
		tags = fmt.Appendf(tags, `"%d":"",`, i)
	}
	return string(tags[:len(tags)-1])
}

func TestReadingStopsAtTheFirstEventThatIsWrongOrOneTooMany(t *testing.T) {
	a := publisher(t)
	for _, c := range []struct {
		name, body, code string
		most             int // bytes read
	}{
		{"empty events", many("{}", 350_000), "bad_topic", 16 << 10},
		{"nulls", many("null", 200_000), "bad_topic", 16 << 10},
		{"one too many", many(`{"topic":"a","data":1}`, 40_000), "bad_request", 64 << 10},
		{"no event", "[" + strings.Repeat("1,", 500_000) + "1]", "bad_json", 16 << 10},
		{"nested arrays", strings.Repeat("[", 1_000_000), "bad_json", 16 << 10},
		{"an unknown member", many(`{"topic":"a","date":1}`, 40_000), "bad_json", 16 << 10},
		{"many tags", `{"topic":"a","tags":{` + manyTags(100_000) + `},"data":1}`, "bad_json", 16 << 10},
		{"not UTF-8", "[\"\xff" + strings.Repeat("x", 1_000_000) + `"]`, "bad_json", 16 << 10},
	} {
		body := &counting{Reader: strings.NewReader(c.body)}
		_, _, refusal := a.readEvents(httptest.NewRecorder(), post(body))
		if refusal == nil || string(refusal.code) != c.code || body.n > c.most || len(refusal.message) > 300 {
			t.Errorf("%s: %+v after %d of %d bytes", c.name, refusal, body.n, len(c.body))
		}
	}
}

// An event costs what it is, not what many empty ones would.
func TestReadingEventsCostsLittleMoreThanTheirBytes(t *testing.T) {
	a := publisher(t)
	for name, body := range map[string]string{
		"a thousand": many(`{"topic":"a","data":"`+strings.Repeat("x", 1000)+`"}`, 1000),
		"too many":   many(`{"topic":"a","data":1}`, 40_000),
		"empty ones": many("{}", 350_000),
		"one":        `{"topic":"a","data":"` + strings.Repeat("x", 60_000) + `"}`,
	} {
		const rounds = 5
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range rounds {
			_, _, _ = a.readEvents(httptest.NewRecorder(), post(strings.NewReader(body)))
		}
		runtime.ReadMemStats(&after)
		if got, most := (after.TotalAlloc-before.TotalAlloc)/rounds, uint64(len(body))*5/2+200<<10; got > most {
			t.Errorf("%s: %d bytes are allocated for a body of %d, want at most %d", name, got, len(body), most)
		}
	}
}

// However many requests come at once, their bodies are not held all at once: the others wait, unread, and after a time
// are told to come back.
func TestLargeRequestsTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var inside, most atomic.Int64
		leave := make(chan bool)
		a := newPublishAPI(parsed(t, nil).cfg, func(_ context.Context, batch []pubsub.Publication) ([]pubsub.Result, error) {
			if len(batch) == 1 {
				return make([]pubsub.Result, 1), nil
			}
			most.Store(max(most.Load(), inside.Add(1)))
			<-leave
			inside.Add(-1)
			return make([]pubsub.Result, len(batch)), nil
		})
		body := many(`{"topic":"a","data":"`+strings.Repeat("x", 1000)+`"}`, 1000)
		answers := make(chan *httptest.ResponseRecorder, 100)
		ask := func(r *http.Request) {
			w := httptest.NewRecorder()
			a.ServeHTTP(w, r)
			answers <- w
		}
		for i := range 50 {
			r := post(strings.NewReader(body))
			if i%2 == 1 {
				r.ContentLength = -1 // its size is not known before it is read
			}
			go ask(r)
		}
		synctest.Wait()
		held := inside.Load()
		if held*int64(len(body)) > publishRoom || held == 0 {
			t.Errorf("%d of 50 are held", held)
		}
		begin := time.Now()
		ask(post(strings.NewReader(`{"topic":"a","data":1}`)))
		if w := <-answers; w.Code != 200 || time.Since(begin) != 0 {
			t.Errorf("a single event behind them is answered %d after %v", w.Code, time.Since(begin))
		}
		time.Sleep(brokerTime + time.Second)
		for range 50 - held {
			if w := <-answers; w.Code != 503 || w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), `"code":"busy"`) || !strings.Contains(w.Body.String(), `"retry":true`) {
				t.Errorf("one that waits is answered %d %s", w.Code, w.Body)
			}
		}
		close(leave)
		for range held {
			if w := <-answers; w.Code != 200 {
				t.Errorf("one that was let in is answered %d %s", w.Code, w.Body)
			}
		}
		for range 50 { // all room is there again
			go ask(post(strings.NewReader(body)))
		}
		for range 50 {
			if w := <-answers; w.Code != 200 {
				t.Errorf("a later one is answered %d %s", w.Code, w.Body)
			}
		}
	})
}

// The least room is one request's, so that none waits for ever.
func TestOneLargeRequestAlwaysHasRoom(t *testing.T) {
	const size = 8 << 20
	cfg := parsedWith(t, environment{room: memory{limit: 16 << 20, of: "a test"}}, fmt.Sprint("--max-message=", size)).cfg
	a := newPublishAPI(cfg, publisher(t).publish)
	w := httptest.NewRecorder()
	a.ServeHTTP(w, post(strings.NewReader(`{"topic":"a","data":"`+strings.Repeat("x", size-2)+`"}`)))
	if w.Code != 200 {
		t.Errorf("answered %d %s", w.Code, w.Body)
	}
}

func TestNamesInARequestAreExactAndComeOnce(t *testing.T) {
	a := publisher(t)
	for _, body := range []string{`{"Topic":"a","data":1}`, `{"topic":"a","DATA":1}`, `{"topic":"a","topic":"b","data":1}`, `{"topic":"a","data":1,"data":2}`, `{"topic":"a","data":1,"":2}`} {
		for _, text := range []string{body, "[" + body + "]"} {
			if _, _, refusal := a.readEvents(httptest.NewRecorder(), post(strings.NewReader(text))); refusal == nil || refusal.code != "bad_json" {
				t.Errorf("%s: %+v", text, refusal)
			}
		}
	}
}

func TestABodyThatBreaksOffIsToldApartFromBadJSON(t *testing.T) {
	a := publisher(t)
	broken := func(text string) io.Reader {
		return io.MultiReader(strings.NewReader(text), iotest.ErrReader(errors.New("connection reset")))
	}
	for _, c := range []struct {
		body io.Reader
		code string
	}{
		{broken(`{"topic":"a","da`), "bad_request"}, {broken(`[{"topic":"a","data":1}`), "bad_request"}, {broken(`[{"topic":"a","data":1},`), "bad_request"},
		{broken(`{"topic":"a","data":1}`), "bad_request"}, {broken(``), "bad_request"},
		{strings.NewReader(`{"topic":"a","da`), "bad_json"}, {strings.NewReader(`[{"topic":"a","data":1}`), "bad_json"}, {strings.NewReader(`[{"topic":"a","data":1},`), "bad_json"},
		{strings.NewReader(""), "bad_json"}, {strings.NewReader(`[{"topic":"a","data":1}] 1`), "bad_json"}, {strings.NewReader("{\"topic\":\"a\",\"data\":\"\xc3"), "bad_json"},
		{iotest.OneByteReader(strings.NewReader(`{"topic":"é€😀","data":"é€😀"}`)), ""},
	} {
		_, _, refusal := a.readEvents(httptest.NewRecorder(), post(c.body))
		if got := ""; refusal != nil || c.code != "" {
			if refusal != nil {
				got = string(refusal.code)
			}
			if got != c.code {
				t.Errorf("%+v, want %q", refusal, c.code)
			}
		}
	}
}

// Events are read as encoding/json reads them, whatever the body and however it comes.
func FuzzReadEvents(f *testing.F) {
	for _, seed := range []string{
		`{"topic":"news","data":{"a":[1,2.5e3]},"key":"k"}`, `[{"topic":"a","data":1},{"data":null,"topic":"b"}]`, ` [ ] `, `[null]`, `null`, `[{"topic":"a","data":1}`,
		`{"topic":"a","data":1} x`, `{"topic":"a","data":1,"name":"n","except":"s_1","tags":{"a":"b","":""}}`, `{"topic":"a","data":1,"tags":{"a":1}}`, `{"topic":"a","data":1,"tags":null}`, "{\"topic\":\"\xff\",\"data\":1}", `{"topic":"\ud800","data":"\u0000"}`, `[[]]`, `{"topic":1}`, `{"topic":"a","data":1,"data":2}`,
	} {
		f.Add([]byte(seed), true)
	}
	f.Fuzz(func(t *testing.T, text []byte, slow bool) {
		a := publishAPI{maxMessage: 1000}
		var from io.Reader = bytes.NewReader(text)
		if slow {
			from = iotest.OneByteReader(from)
		}
		got, several, refusal := a.readEvents(httptest.NewRecorder(), post(from))
		type event struct {
			Topic string          `json:"topic"`
			Data  json.RawMessage `json:"data"`
			Key   string          `json:"key"`

			Name   string            `json:"name"`
			Except string            `json:"except"`
			Tags   map[string]string `json:"tags"`
		}
		var want []event
		if bytes.HasPrefix(bytes.TrimLeft(text, " \t\r\n"), []byte("[")) != several && refusal == nil {
			t.Fatalf("several is %v", several)
		}
		if refusal != nil {
			if len(refusal.message) > 400 || !utf8.ValidString(refusal.message) {
				t.Fatalf("%q", refusal.message)
			}
			return
		}
		if several {
			if err := decodeStrict(text, &want); err != nil {
				t.Fatalf("let in: %v", err)
			}
		} else {
			want = make([]event, 1)
			if err := decodeStrict(text, &want[0]); err != nil {
				t.Fatalf("let in: %v", err)
			}
		}
		if len(got) != len(want) {
			t.Fatalf("%d events, want %d", len(got), len(want))
		}
		for i := range want {
			if got[i].Topic != want[i].Topic || got[i].Key != want[i].Key || !bytes.Equal(got[i].Data, want[i].Data) {
				t.Fatalf("event %d is %+v, want %+v", i, got[i], want[i])
			}
			a := pubsub.Attributes{}
			if got[i].Attributes != nil {
				a = *got[i].Attributes
			}
			if a.Name != want[i].Name || a.Except != want[i].Except || a.Info != nil || !maps.Equal(a.Tags, want[i].Tags) {
				t.Fatalf("event %d has %+v, want %+v", i, a, want[i])
			}
		}
	})
}
