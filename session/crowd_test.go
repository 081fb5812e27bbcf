package session

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestCrowdKeepsItsPartsApart: whatever leaves and comes during a batch, who has it does not get it again,
// who is to get it stays to, and who came later does not get it; and everybody's index is known.
func TestCrowdKeepsItsPartsApart(t *testing.T) {
	type place struct{ at, part int } // part 0 has the batch, 1 gets it, 2 came later
	rapid.Check(t, func(t *rapid.T) {
		var c crowd
		var next, limit int
		places := map[*Session]*place{}
		var all []*Session
		for range rapid.IntRange(0, 200).Draw(t, "steps") {
			switch rapid.SampledFrom([]string{"add", "add", "remove", "advance", "begin"}).Draw(t, "step") {
			case "add":
				s := &Session{}
				places[s] = &place{c.add(s), 2}
				all = append(all, s)
			case "remove":
				if len(all) == 0 {
					continue
				}
				i := rapid.IntRange(0, len(all)-1).Draw(t, "who")
				s := all[i]
				all = slices.Delete(all, i, i+1)
				c.remove(places[s].at, &next, &limit, func(s *Session, to int) { places[s].at = to })
				delete(places, s)
			case "advance":
				if next < limit {
					places[c.at(next)].part = 0
					next++
				}
			case "begin":
				next, limit = 0, c.len()
				for _, p := range places {
					p.part = 1
				}
			}
			if c.len() != len(all) {
				t.Fatalf("%d in the crowd, want %d", c.len(), len(all))
			}
			for s, p := range places {
				if c.at(p.at) != s {
					t.Fatal("an index is wrong")
				}
				part := 0
				if p.at >= next {
					part = 1
				}
				if p.at >= limit {
					part = 2
				}
				if part != p.part {
					t.Fatalf("at %d of next %d, limit %d: part %d, want %d", p.at, next, limit, part, p.part)
				}
			}
		}
	})
}
