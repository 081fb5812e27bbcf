package fleet

import (
	"bytes"
	"compress/flate"
	"errors"
	"strings"
	"testing"
)

func TestMessagesInflateOrAreRefused(t *testing.T) {
	w, _ := flate.NewWriter(nil, 6)
	squeeze := func(s string) []byte {
		var b bytes.Buffer
		w.Reset(&b)
		_, _ = w.Write([]byte(s))
		_ = w.Flush()
		return bytes.TrimSuffix(b.Bytes(), []byte{0, 0, 0xff, 0xff})
	}
	var f inflater
	for range 2 { // the second time they are known
		for n := range 3000 {
			want := strings.Repeat("some text ", n%50) + string(rune('a'+n%26))
			if got, err := f.message(squeeze(want), 1000); err != nil || string(got) != want {
				t.Fatalf("%q: %q, %v", want, got, err)
			}
		}
		if _, err := f.message(squeeze(strings.Repeat("x", 1001)), 1000); !errors.Is(err, errInflated) {
			t.Errorf("over the limit: %v", err)
		}
		if _, err := f.message([]byte("no deflate"), 1000); err == nil {
			t.Error("no deflate is taken")
		}
	}
}
