package sse

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"wshub/pubsub"
)

func TestPlacesComeBackFromTheirID(t *testing.T) {
	p := newPlaces([]string{"a", "b", "c", "d"})
	p.at = []place{{}, {known: true}, {Position: pubsub.Position{Epoch: 1 << 63, ID: pubsub.ID{Ms: 1<<48 - 1, Seq: 1<<16 - 1}}, known: true}, {Position: pubsub.Position{Epoch: 1}, known: true}}
	id := string(p.appendID(nil))
	q := newPlaces([]string{"a", "b", "c", "d"})
	if !q.parse(id) || !slices.Equal(p.at, q.at) {
		t.Errorf("got %v, want %v", q.at, p.at)
	}
	for name, topics := range map[string][]string{"fewer": {"a", "b", "c"}, "another order": {"b", "a", "c", "d"}, "other names": {"a", "b", "c", "e"}, "others of the same letters": {"ab", "", "c", "d"}} {
		if newPlaces(topics).parse(id) {
			t.Error(name, "are not told from them")
		}
	}
	p.at[0] = place{Position: pubsub.Position{Epoch: 1, ID: pubsub.ID{Ms: 1 << 48}}, known: true}
	if p.at[1] = (place{lost: true}); !q.parse(string(p.appendID(nil))) || !q.at[0].lost || !q.at[1].lost || !slices.Equal(p.at[2:], q.at[2:]) {
		t.Errorf("a position that does not fit, and one that was lost, come back as %v", q.at)
	}
}

func TestAnIDNeverGrowsTooLong(t *testing.T) {
	p := newPlaces(make([]string, maxPlaces))
	for i := range p.at {
		p.at[i] = place{Position: pubsub.Position{Epoch: 1<<64 - 1, ID: pubsub.ID{Ms: 1<<48 - 1, Seq: 1<<16 - 1}}, known: true}
	}
	if n := len(p.appendID(nil)); n > maxID || maxPlaces != 90 {
		t.Errorf("%d bytes for %d topics", n, maxPlaces)
	}
}

func TestAStampCostsNoAllocation(t *testing.T) {
	p := newPlaces([]string{"a", "b"})
	buf := make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(100, func() {
		p.at[p.index("b")] = place{Position: pubsub.Position{Epoch: 1, ID: pubsub.ID{Ms: 2, Seq: 3}}, known: true}
		buf = p.appendID(buf[:0])
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// Whatever a client sends as Last-Event-ID, it is refused or stands for places that give the same id again.
func FuzzLastEventID(f *testing.F) {
	p := newPlaces([]string{"a", "b"})
	f.Add(string(p.appendID(nil)))
	p.at = []place{{known: true}, {Position: pubsub.Position{Epoch: 7, ID: pubsub.ID{Ms: 8, Seq: 9}}, known: true}}
	f.Add(string(p.appendID(nil)))
	f.Add("0")
	f.Add("00000000000000ff:1-1")
	f.Add(strings.Repeat("A", 2048))
	f.Fuzz(func(t *testing.T, id string) {
		p := newPlaces([]string{"a", "b"})
		before := slices.Clone(p.at)
		if !p.parse(id) {
			if !slices.Equal(p.at, before) {
				t.Error("a refused id changes something")
			}
			return
		}
		if again := string(p.appendID(nil)); again != id && !slices.Contains(p.at, place{known: true}) {
			t.Errorf("%q becomes %q", id, again)
		}
	})
}

// Whatever an event's data is, it stays within its event: no line of it is a field of its own.
func FuzzData(f *testing.F) {
	for _, seed := range []string{`{"a":1}`, "{\n}", "{\r\n\r\n}", "\r", "\n\n", "id: 1\nevent: hub", "", " 1"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		frame := appendData(nil, data)
		var lines [][]byte
		for line := range bytes.Lines(frame) {
			text, ok := bytes.CutPrefix(bytes.TrimSuffix(line, []byte("\n")), []byte("data: "))
			if !ok || bytes.IndexByte(text, '\r') >= 0 {
				t.Fatalf("%q has the line %q", data, line)
			}
			lines = append(lines, text)
		}
		want := bytes.ReplaceAll(bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n")), []byte("\r"), []byte("\n"))
		if got := bytes.Join(lines, []byte("\n")); !bytes.Equal(got, want) {
			t.Errorf("%q comes as %q", data, got)
		}
	})
}
