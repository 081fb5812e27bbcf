package pubsub

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"wshub/pubsub/redistest"
)

// fullest are attributes that take as many bytes as they may.
func fullest() *Attributes {
	a := &Attributes{
		Name:   strings.Repeat("n", MaxText),
		Info:   json.RawMessage(`{"x":"` + strings.Repeat("i", MaxInfo-8) + `"}`),
		Except: strings.Repeat("e", MaxText),
		Tags:   map[string]string{},
	}
	for i := range MaxTags {
		a.Tags[fmt.Sprintf("%02d", i)] = strings.Repeat("t", MaxTagBytes/MaxTags-2)
	}
	return a
}

// attributed are events with each attribute, and without, in turns.
var attributed = []*Attributes{
	nil,
	{Name: "price"},
	{Info: json.RawMessage(` {"user": "42", "info":{"é":[1, 2.50]}}`)},
	nil,
	{Except: "s_2fhfmiposqy91"},
	{Tags: map[string]string{"a": "1", "b": "", "": "x"}},
	{Name: "é", Info: json.RawMessage(`{}`), Except: "s_1", Tags: map[string]string{"k": "v"}},
	nil,
	fullest(),
	nil,
}

// publishAttributed publishes attributed to topic, each behind the others, with its number as data.
func publishAttributed(t testing.TB, b Broker, topic string) {
	t.Helper()
	batch := make([]Publication, len(attributed))
	for i, a := range attributed {
		batch[i] = Publication{Topic: topic, Data: fmt.Append(nil, i), Attributes: a}
	}
	for _, r := range b.Publish(context.Background(), batch) {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
	}
}

// wantAttributed checks that ev is number i of attributed.
func wantAttributed(t testing.TB, what string, i int, ev *Event) {
	t.Helper()
	if ev == nil || string(ev.Data) != fmt.Sprint(i) || !reflect.DeepEqual(ev.Attributes, attributed[i]) {
		t.Fatalf("%s: event %d is %+v, want %+v", what, i, ev, attributed[i])
	}
}

func attributesArrive(t *testing.T, b Broker, sink recorder) {
	for _, topic := range []string{"c:attributed", "h:attributed", "channel"} {
		mustFollow(t, b, topic, 0)
		publishAttributed(t, b, topic)
		for i := range attributed {
			wantAttributed(t, topic, i, sink.next(t).Event)
		}
	}
}

func attributesAreKept(t *testing.T, b Broker, sink recorder) {
	for _, followed := range []bool{false, true} {
		topic := fmt.Sprint("h:attributed:", followed)
		if followed {
			mustFollow(t, b, topic, 0)
		}
		publishAttributed(t, b, topic)
		for range attributed {
			if followed {
				sink.next(t)
			}
		}
		r := replay(t, b, topic, Start, 100)
		if len(r.Events) != len(attributed) || !r.Recovered {
			t.Fatalf("%d events, recovered %t", len(r.Events), r.Recovered)
		}
		for i, ev := range r.Events {
			wantAttributed(t, topic, i, ev)
		}
	}
}

func emptyAttributes(t *testing.T, b Broker, sink recorder) {
	for _, topic := range []string{"c:empty", "h:empty"} {
		mustFollow(t, b, topic, 0)
		for _, a := range []*Attributes{{}, {Info: json.RawMessage{}, Tags: map[string]string{}}} {
			if r := b.Publish(context.Background(), []Publication{{Topic: topic, Data: []byte("1"), Attributes: a}})[0]; r.Err != nil {
				t.Fatal(r.Err)
			}
			if d := sink.next(t); d.Attributes != nil {
				t.Errorf("%s: %+v", d, d.Attributes)
			}
		}
	}
}

func badAttributes(t *testing.T, b Broker, sink recorder) {
	mustFollow(t, b, "c:bounds", 0)
	tags := func(n, key, value int) (m map[string]string) {
		m = map[string]string{}
		for i := range n {
			m[fmt.Sprintf("%0*d", key, i)] = strings.Repeat("x", value)
		}
		return m
	}
	long := strings.Repeat("x", MaxText+1)
	for what, a := range map[string]*Attributes{
		"a long name":        {Name: long},
		"a name not UTF-8":   {Name: "\xff"},
		"a long except":      {Except: long},
		"an except no UTF-8": {Except: "s_\xc3"},
		"a long info":        {Info: json.RawMessage(`{"x":"` + long + strings.Repeat("i", MaxInfo) + `"}`)},
		"an info no JSON":    {Info: json.RawMessage(`{`)},
		"an info no UTF-8":   {Info: json.RawMessage("{\"x\":\"\xff\"}")},
		"an info no object":  {Info: json.RawMessage(`[{}]`)},
		"an info of two":     {Info: json.RawMessage(`{}{}`)},
		"an info of blanks":  {Info: json.RawMessage(` `)},
		"a null info":        {Info: json.RawMessage(`null`)},
		"many tags":          {Tags: tags(MaxTags+1, 2, 1)},
		"large tags":         {Tags: tags(MaxTags, 2, MaxTagBytes/MaxTags-1)},
		"a long key":         {Tags: map[string]string{long: ""}},
		"a long value":       {Tags: map[string]string{"": long}},
		"a key not UTF-8":    {Tags: map[string]string{"\xff": ""}},
		"a value not UTF-8":  {Tags: map[string]string{"": "\xff"}},
	} {
		batch := []Publication{{Topic: "c:bounds", Data: []byte("1"), Attributes: a}, {Topic: "c:bounds", Data: []byte("2")}}
		if r := b.Publish(context.Background(), batch); !errors.Is(r[0].Err, ErrBadEvent) || r[1].Err != nil {
			t.Errorf("%s: %v", what, r)
		}
		if got := sink.event(t, "c:bounds"); got != "2" {
			t.Errorf("%s was delivered", what)
		}
	}
}

func TestMissedEventsHaveTheirAttributes(t *testing.T) {
	server := redistest.Start(t)
	r, sink := running(t, RedisConfig{URL: server.URL(), History: keepAll})
	mustFollow(t, r, "h:a", 0)
	for i, a := range attributed { // hidden, so they are found in the log
		c := r.publication(&Publication{Topic: "h:a", Data: fmt.Append(nil, i), Attributes: a})
		c.args[0] = "hub:nowhere"
		if err := r.run(t.Context(), []call{c})[0].Err(); err != nil {
			t.Fatal(err)
		}
	}
	server.CLI("client", "kill", "type", "pubsub")
	for i := range attributed {
		wantAttributed(t, "caught up", i, sink.next(t).Event)
	}
}

// An event of the broadcast topic with attributes is for hubs: other subscribers of Redis get no raw JSON of it.
func TestForeignSubscribersGetRawJSONOnly(t *testing.T) {
	server := redistest.Start(t)
	r, sink := running(t, RedisConfig{URL: server.URL()})
	mustFollow(t, r, "channel", 0)
	foreign := r.only().pub.Subscribe(t.Context(), "channel")
	defer foreign.Close()
	if _, err := foreign.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	publishAttributed(t, r, "channel")
	for i := range attributed {
		wantAttributed(t, "hubs", i, sink.next(t).Event)
	}
	for i, a := range attributed {
		if a != nil {
			continue
		}
		if m, err := foreign.ReceiveMessage(t.Context()); err != nil || m.Payload != fmt.Sprint(i) {
			t.Errorf("got %v, %v, want %d", m, err, i)
		}
	}
}

// A log may hold what no hub wrote: the event is missing, and followers are told.
func TestABodyThatNoHubWroteIsALoss(t *testing.T) {
	server := redistest.Start(t)
	r, sink := running(t, RedisConfig{URL: server.URL(), History: keepAll})
	mustFollow(t, r, "h:a", 0)
	mustPublish(t, r, "h:a", "1")
	wantEvents(t, sink, "h:a", 1, 1)
	c := r.publication(&Publication{Topic: "h:a", Data: []byte("2")})
	c.args[1] = "\x02\xff"
	if err := r.run(t.Context(), []call{c})[0].Err(); err != nil {
		t.Fatal(err)
	}
	mustPublish(t, r, "h:a", "3")
	sink.gap(t, "h:a")
	wantEvents(t, sink, "h:a", 3, 3)
	if drops := r.Stats().Drops; drops["bad_envelope"] != 1 || drops["bad_entry"] != 1 {
		t.Errorf("counted %v", drops)
	}
}

// The largest data may have the most attributes.
func TestAttributesTakeNothingFromTheData(t *testing.T) {
	server := redistest.Start(t)
	const limit = 2 << 20 // above what else may come
	r, sink := running(t, RedisConfig{URL: server.URL(), History: keepAll, MaxMessage: limit})
	data := []byte(`"` + strings.Repeat("x", limit-2) + `"`)
	for _, topic := range []string{"plain", "h:a"} {
		mustFollow(t, r, topic, 0)
		if res := r.Publish(t.Context(), []Publication{{Topic: topic, Data: data, Attributes: fullest()}})[0]; res.Err != nil {
			t.Fatal(res.Err)
		}
		if d := sink.next(t); !bytes.Equal(d.Data, data) || !reflect.DeepEqual(d.Attributes, fullest()) {
			t.Errorf("%s: got %d bytes with %+v", topic, len(d.Data), d.Attributes)
		}
	}
}

func TestWithoutAttributesABodyIsTheDataItself(t *testing.T) {
	for _, a := range []*Attributes{nil, {}} {
		p := &Publication{Topic: "a", Data: []byte(`{"a":1}`), Attributes: a}
		if n := testing.AllocsPerRun(100, func() {
			if body := p.body(); &body[0] != &p.Data[0] || len(body) != len(p.Data) {
				t.Fatalf("%q", body)
			}
			if a, data, ok := parseBody(p.Data); a != nil || &data[0] != &p.Data[0] || !ok {
				t.Fatal(a, data, ok)
			}
		}); n > 0 {
			t.Errorf("%v allocations", n)
		}
	}
}

func TestABodyIsReadAsItWasWritten(t *testing.T) {
	text := rapid.StringN(-1, -1, MaxText)
	rapid.Check(t, func(t *rapid.T) {
		want := &Attributes{Name: text.Draw(t, "name"), Except: text.Draw(t, "except")}
		if info := text.Draw(t, "info"); info != "" {
			want.Info, _ = json.Marshal(map[string]string{"x": info})
		}
		if tags := rapid.MapOfN(rapid.StringN(-1, -1, 30), rapid.StringN(-1, -1, 30), 0, MaxTags).Draw(t, "tags"); len(tags) > 0 {
			want.Tags = tags
		}
		if want.empty() {
			want = nil
		}
		data := rapid.SliceOf(rapid.Byte()).Draw(t, "data")
		if want == nil && len(data) > 0 && data[0] == attributesMark {
			return // no JSON
		}
		body := (&Publication{Data: data, Attributes: want}).body()
		got, rest, ok := parseBody(body)
		if !ok || !reflect.DeepEqual(got, want) || !bytes.Equal(rest, data) {
			t.Errorf("%+v became %+v, %q became %q", want, got, data, rest)
		}
		if len(body) > len(data)+maxAttributes {
			t.Errorf("%d bytes are added", len(body)-len(data))
		}
	})
}

func FuzzBody(f *testing.F) {
	f.Add([]byte(nil))
	f.Add([]byte(`{"price":1}`))
	f.Add([]byte("\x02"))
	f.Add([]byte("\x02\x00\x00\x00\x00\x00\x00\x00{}"))                                 // nothing in it
	f.Add([]byte("\x02\x00\x00\x00\x02[]\x00\x00\x00{}"))                               // no info
	f.Add([]byte("\x02\xff\xff\x00\x00\x00\x00\x00{}"))                                 // longer than the rest
	f.Add([]byte("\x02\x00\x00\x00\x00\x00\x00\xff{}"))                                 // too many tags
	f.Add([]byte("\x02\x00\x00\x00\x00\x00\x00\x02\x00\x01b\x00\x00\x00\x01a\x00\x00")) // tags out of order
	f.Add([]byte("\x02\x00\x00\x00\x00\x00\x00\x02\x00\x01a\x00\x00\x00\x01a\x00\x00")) // one twice
	for _, a := range attributed {
		f.Add(appendBody(nil, a, []byte(`{}`)))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		a, data, ok := parseBody(body)
		if !ok {
			if a != nil || data != nil {
				t.Errorf("%+v, %q", a, data)
			}
			return
		}
		if a != nil && (a.empty() || a.Validate() != nil || json.Valid(body)) {
			t.Errorf("%+v: %v", a, a.Validate())
		}
		if !bytes.HasSuffix(body, data) || len(body)-len(data) > maxAttributes {
			t.Errorf("data %q of %q", data, body)
		}
		if again := appendBody(nil, a, data); !bytes.Equal(again, body) {
			t.Errorf("%q became %q", body, again)
		}
	})
}

func TestAttributesCountWhereBytesAreBounded(t *testing.T) {
	ev := &Event{Data: []byte("1"), Attributes: fullest()}
	n := ev.Attributes.Size()
	if least := len(appendBody(nil, ev.Attributes, nil)); n < least || n > 2*least || (*Attributes)(nil).Size() != 0 {
		t.Errorf("%d bytes for attributes of %d", n, least)
	}
	if got := size(ev); got < n {
		t.Errorf("kept, it counts as %d bytes", got)
	}
	if got := len(Limit{Events: 10, Bytes: 3*n + 3}.page([]*Event{ev, ev, ev, ev})); got != 3 {
		t.Errorf("%d are a page", got)
	}
	h, held := new(held), 0
	for h.add(ev) == 0 {
		held++
	}
	if held > maxHeldBytes/n {
		t.Errorf("%d are held", held)
	}
}
