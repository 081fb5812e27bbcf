package drills

import (
	"flag"
	"os"
	"strconv"
)

// Checks has tests of properties (package rapid) try so many inputs each, in place of 100, in a plain run and in one with
// the level race, unless the command line says how many: a race detector makes an input several times as dear, and what it
// looks for does not hang on their number. Runs with the levels short and full have all. Call it in TestMain.
func Checks(plain, race int) {
	const name = "rapid.checks"
	if flag.Lookup(name) == nil {
		return
	}
	switch os.Getenv(Variable) {
	case "":
		unlessGiven(name, plain)
	case "race":
		unlessGiven(name, race)
	}
}

// unlessGiven sets a flag of numbers that the command line does not set. It parses once only: a second time the testing package
// refuses the -fuzzminimizetime 0x that it took.
func unlessGiven(name string, number int) {
	if !flag.Parsed() {
		flag.Parse()
	}
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == name })
	if !given {
		_ = flag.Set(name, strconv.Itoa(number))
	}
}
