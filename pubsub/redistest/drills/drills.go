// Package drills says which tests a run has. A plain go test takes a minute: it leaves out the tests that start sets of
// servers or drive other programs, except one of each kind. The variable WSHUB_DRILL has them run.
package drills

import (
	"math/rand/v2"
	"os"
	"slices"
	"testing"
)

// Variable is the environment variable that names a Level.
const Variable = "WSHUB_DRILL"

// A Level is how much of the tests a run has. Each has all that the one before it has.
type Level int

// The levels, and the values of Variable that name them.
const (
	Plain Level = iota // unset
	Race               // "race": also tests of code in the test's own process, which a race detector watches
	Short              // "short": all tests
	Full               // "full": drills and measurements at their real size
)

// level reads the level of this run. A value that names none is the fault of the tests that ask.
func level(t testing.TB) Level {
	t.Helper()
	switch value := os.Getenv(Variable); value {
	case "":
		return Plain
	case "race":
		return Race
	case "short":
		return Short
	case "full":
		return Full
	default:
		t.Fatalf("%s=%s is none of race, short and full", Variable, value)
		return Plain
	}
}

// InProcess skips t in a plain run. It is for tests that take seconds, but mostly of this process: sets of servers, say.
func InProcess(t testing.TB) {
	t.Helper()
	if level(t) < Race {
		t.Skipf("a plain run leaves it out; %s=short runs all tests", Variable)
	}
}

// Programs skips t unless all tests run. It is for tests that take seconds and drive programs, of which a race detector
// sees nothing: hubs of their own processes, browsers, Node.
func Programs(t testing.TB) {
	t.Helper()
	if level(t) < Short {
		t.Skipf("it drives other programs for seconds; %s=short runs all tests", Variable)
	}
}

// Measurement skips t unless drills have their real size.
func Measurement(t testing.TB) {
	t.Helper()
	if level(t) < Full {
		t.Skipf("a measurement; %s=full runs it", Variable)
	}
}

// HasPrograms is false where Programs skips a test: the test may then do a part of its work.
func HasPrograms(t testing.TB) bool { t.Helper(); return level(t) >= Short }

// IsPlain is true where InProcess skips a test: the test may then do a part of its work.
func IsPlain(t testing.TB) bool { t.Helper(); return level(t) == Plain }

// Sample returns all of cases, in a plain run only n of them, others each time.
func Sample[T any](t testing.TB, n int, cases ...T) []T {
	t.Helper()
	if !IsPlain(t) {
		return cases
	}
	cases = slices.Clone(cases)
	rand.Shuffle(len(cases), func(i, j int) { cases[i], cases[j] = cases[j], cases[i] })
	return cases[:min(n, len(cases))]
}

// IsFull is true where drills have their real size.
func IsFull(t testing.TB) bool { t.Helper(); return level(t) == Full }

// SideBySide runs t beside other tests, unless drills have their real size: then it is alone. Drills mostly wait.
func SideBySide(t *testing.T) {
	t.Helper()
	if !IsFull(t) {
		t.Parallel()
	}
}

// Parallel has so many tests run at once in a plain run, of those that are parallel, and so many in others. Tests that wait
// want many; a race detector, sets of servers and programs want few. The command line may say another number, as a run that
// fuzzes has to: it has so many processes. Call it in TestMain.
func Parallel(plain, others int) {
	if os.Getenv(Variable) != "" || raceDetector {
		plain = others
	}
	unlessGiven("test.parallel", plain)
}
