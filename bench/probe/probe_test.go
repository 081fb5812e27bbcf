package probe

import (
	"encoding/json"
	"errors"
	"testing"
	"time"
	"unicode/utf8"
)

func TestEventsAreJSONOfTheAskedSize(t *testing.T) {
	for _, size := range []int{0, 128, 1000} {
		b := Append(nil, "r1", Event{Topic: "news", Seq: 17, At: Now()}, size)
		if !json.Valid(b) || !utf8.Valid(b) {
			t.Fatalf("not JSON: %s", b)
		}
		if size >= 128 && len(b) != size {
			t.Errorf("size %d became %d", size, len(b))
		}
	}
}

func TestDecodeReturnsWhatAppendWrote(t *testing.T) {
	want := Event{Topic: "user:u7", Seq: 1 << 40, At: -3}
	prefix := []byte("before")
	b := Append(prefix, "r1", want, 200)[len(prefix):]
	got, err := Decode(b, "r1")
	if err != nil || got != want {
		t.Fatalf("got %+v, %v; want %+v", got, err, want)
	}
}

func TestEveryChangedByteIsNoticed(t *testing.T) {
	good := Append(nil, "r1", Event{Topic: "news", Seq: 17, At: 12345}, 128)
	for i := range good {
		bad := append([]byte(nil), good...)
		bad[i] ^= 1
		if _, err := Decode(bad, "r1"); err == nil {
			t.Errorf("byte %d changed from %q to %q: not noticed", i, good[i], bad[i])
		}
		if _, err := Decode(good[:i], "r1"); err == nil {
			t.Errorf("cut to %d bytes: not noticed", i)
		}
	}
}

func TestOthersEventsAreForeign(t *testing.T) {
	for _, b := range []string{
		``, `{}`, `{"price":1}`, `{"run":"r1`,
		string(Append(nil, "r11", Event{Topic: "news", Seq: 1}, 128)),
	} {
		if _, err := Decode([]byte(b), "r1"); !errors.Is(err, ErrForeign) {
			t.Errorf("%q: got %v, want ErrForeign", b, err)
		}
	}
}

func TestNowFollowsTheClock(t *testing.T) {
	a, wall := Now(), time.Now()
	b := Now()
	if a > b || time.Duration(b-a) > time.Since(wall)+time.Second {
		t.Errorf("Now went from %d to %d", a, b)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(Append(nil, "r1", Event{Topic: "news", Seq: 1, At: 1}, 128))
	f.Add([]byte(`{"run":"r1","topic":"`))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := Decode(b, "r1")
		if err == nil && string(Append(nil, "r1", e, len(b))) != string(b) {
			t.Errorf("%q decoded to %+v, which is written otherwise", b, e)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	data := Append(nil, "r1", Event{Topic: "news", Seq: 17, At: Now()}, 128)
	for b.Loop() {
		if _, err := Decode(data, "r1"); err != nil {
			b.Fatal(err)
		}
	}
}
