package drills

import "testing"

func TestEachLevelHasAllOfTheOneBefore(t *testing.T) {
	for value, want := range map[string][3]bool{"": {}, "race": {true}, "short": {true, true}, "full": {true, true, true}} {
		t.Setenv(Variable, value)
		for i, skip := range []func(testing.TB){InProcess, Programs, Measurement} {
			ran := false
			t.Run("", func(t *testing.T) {
				skip(t)
				ran = true
			})
			if ran != want[i] {
				t.Errorf("%s=%s: number %d runs: %t", Variable, value, i, ran)
			}
		}
		if some := Sample(t, 2, 1, 2, 3); len(some) != 2 && !want[0] || len(some) != 3 && want[0] {
			t.Errorf("%s=%s: a sample of %v", Variable, value, some)
		}
		if IsFull(t) != want[2] || HasPrograms(t) != want[1] || IsPlain(t) == want[0] {
			t.Errorf("%s=%s: full %t, with programs %t, plain %t", Variable, value, IsFull(t), HasPrograms(t), IsPlain(t))
		}
	}
}
