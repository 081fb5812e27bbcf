package main

import (
	"fmt"
	"strings"
	"testing"
)

// TestADrillSeesWhatGoesWrong: a drill that can't fail proves nothing. A client hears numbers; x is a gap, and
// f is recovered:false.
func TestADrillSeesWhatGoesWrong(t *testing.T) {
	for _, one := range []struct {
		heard                           string
		lost, repeated, reordered, told int
	}{
		{"1 2 3", 0, 0, 0, 0},
		{"2 3", 1, 0, 0, 0},
		{"1 4", 2, 0, 0, 0},
		{"1 1 2", 0, 1, 0, 0},
		{"1 2 3 1", 0, 1, 0, 0},
		{"1 3 2 4", 1, 0, 1, 0},
		{"1 x 4", 0, 0, 0, 2},
		{"1 f 4", 0, 0, 0, 2},
		{"1 x 2 4", 1, 0, 0, 0},
		{"1 x x 4 6", 1, 0, 0, 2},
		{"1 x 4 3", 0, 0, 1, 2},
		{"1 2 x 1", 0, 1, 0, 0},
		{"5 5", 4, 1, 0, 0},
		{"1 7 x 7", 5, 0, 0, 0}, // 7 may have been published twice: its outcome was unsure, and then Redis forgot
		{"1 7 7", 5, 1, 0, 0},
	} {
		topic := newDrillTopic("drill:0")
		topic.doubt(7)
		d := &drill{t: t, topics: []*drillTopic{topic}, count: newDrillCount()}
		f := newFollower(d, 0, 0, []int{0})
		for word := range strings.FieldsSeq(one.heard) {
			h := &heard{Type: "event", Topic: topic.name, Position: "p"}
			switch word {
			case "x":
				h.Type = "gap"
			case "f":
				h.Type, h.Recovered = "subscribed", new(bool)
			default:
				if _, err := fmt.Sscan(word, &h.Data.N); err != nil {
					t.Fatal(err)
				}
			}
			f.hear(h, nil)
		}
		if c := d.count; c.lost != one.lost || c.repeated != one.repeated || c.reordered != one.reordered || c.told != one.told {
			t.Errorf("%q: %d lost, %d repeated, %d reordered, %d told", one.heard, c.lost, c.repeated, c.reordered, c.told)
		}
		topic.acked.Store(9)
		if f.missing()[0] == 0 {
			t.Errorf("%q: nothing is missing up to 9", one.heard)
		}
	}
}
