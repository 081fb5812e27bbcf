package offset

import (
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"wshub/pubsub"
)

// ids are the IDs that hubs give up to 2089.
var ids = rapid.Custom(func(t *rapid.T) pubsub.ID {
	return pubsub.ID{
		Ms:  rapid.Uint64Range(since2020+1, uint64(last.UnixMilli())).Draw(t, "ms"),
		Seq: rapid.Uint64Range(0, 4095).Draw(t, "seq"),
	}
})

var last = time.Date(2089, 9, 1, 0, 0, 0, 0, time.UTC)

func TestAPositionComesBackFromItsOffset(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := pubsub.Position{Epoch: rapid.Uint64().Draw(t, "epoch"), ID: ids.Draw(t, "id")}
		epoch, offset := Of(want)
		got, err := Position(epoch, offset)
		if err != nil || got != want {
			t.Fatalf("%v became %q %d, and that %v, %v", want, epoch, offset, got, err)
		}
		if offset >= 1<<53 {
			t.Fatalf("%v has offset %d", want, offset)
		}
		if (want.Epoch == 0) != (epoch == "") {
			t.Fatalf("%v has epoch %q", want, epoch)
		}
	})
}

func TestAnOffsetComesBackFromItsPosition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		epoch := rapid.SampledFrom([]string{"", "0000000000000001", "fedcba9876543210"}).Draw(t, "epoch")
		offset := rapid.Uint64Range(0, 1<<53-1).Draw(t, "offset")
		p, err := Position(epoch, offset)
		if err != nil {
			t.Fatal(err)
		}
		if gotEpoch, got := Of(p); got != offset || gotEpoch != epoch {
			t.Fatalf("%q %d became %v, and that %q %d", epoch, offset, p, gotEpoch, got)
		}
	})
}

func TestOffsetsGrowAsPositionsDo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := ids.Draw(t, "a"), ids.Draw(t, "b")
		_, first := Of(pubsub.Position{Epoch: 7, ID: a})
		_, second := Of(pubsub.Position{Epoch: 7, ID: b})
		if c := a.Compare(b); c < 0 && first >= second || c == 0 && first != second || c > 0 && first <= second {
			t.Fatalf("%v has offset %d, %v has %d", a, first, b, second)
		}
	})
}

func TestStartIsOffsetZeroWithoutAnEpoch(t *testing.T) {
	if epoch, offset := Of(pubsub.Start); epoch != "" || offset != 0 {
		t.Errorf("Start has %q %d", epoch, offset)
	}
	if p, err := Position("", 0); err != nil || p != pubsub.Start {
		t.Errorf("it comes back as %v, %v", p, err)
	}
	// An empty topic's place is no Start.
	if _, offset := Of(pubsub.Position{Epoch: 7, ID: pubsub.ID{Ms: 1732361000123}}); offset == 0 {
		t.Error("the place before a topic's first event has offset 0")
	}
	// It is behind the place that begins an epoch, which no log remembers.
	if p, err := Position("0000000000000007", 0); err != nil || p.IsZero() || p.Epoch != 7 {
		t.Errorf("offset 0 of an epoch is %v, %v", p, err)
	}
}

func TestWhatHasNoOffsetIsInvalid(t *testing.T) {
	for _, id := range []pubsub.ID{
		{Ms: 1732361000123, Seq: 4096}, {Ms: since2020 - 1, Seq: 1}, {Ms: 1, Seq: 1}, {Ms: 0, Seq: 1},
		{Ms: since2020 + 1<<41, Seq: 1}, {Ms: 1<<64 - 1, Seq: 1<<64 - 1},
	} {
		epoch, offset := Of(pubsub.Position{Epoch: 7, ID: id})
		if epoch != Invalid || offset != 0 {
			t.Errorf("%v has %q %d", id, epoch, offset)
		}
		if _, err := Position(epoch, offset); !errors.Is(err, pubsub.ErrBadPosition) {
			t.Errorf("%q is taken back: %v", epoch, err)
		}
	}
}

func TestStrangeEpochsAndOffsetsAreNoPositions(t *testing.T) {
	for _, c := range []struct {
		epoch  string
		offset uint64
	}{
		{Invalid, 1}, {"e1", 1}, {"0000000000000000", 1}, {"FEDCBA9876543210", 1}, {"fedcba987654321", 1}, {"fedcba98765432100", 1},
		{"+edcba9876543210", 1}, {" fedcba987654321", 1}, {"0xfedcba98765432", 1}, {"fedcba98_7654321", 1},
		{"fedcba9876543210", 1 << 53}, {"", 1 << 53}, {"", 1<<64 - 1},
	} {
		if p, err := Position(c.epoch, c.offset); !errors.Is(err, pubsub.ErrBadPosition) {
			t.Errorf("%q %d is %v, %v", c.epoch, c.offset, p, err)
		}
	}
}

func FuzzPosition(f *testing.F) {
	f.Add("", uint64(0))
	f.Add("fedcba9876543210", uint64(632845567488001))
	f.Add(Invalid, uint64(1))
	f.Fuzz(func(t *testing.T, epoch string, offset uint64) {
		p, err := Position(epoch, offset)
		if err != nil {
			return
		}
		if gotEpoch, got := Of(p); gotEpoch != epoch || got != offset {
			t.Errorf("%q %d became %v, and that %q %d", epoch, offset, p, gotEpoch, got)
		}
	})
}
