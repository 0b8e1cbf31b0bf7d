package testenv

import (
	"flag"
	"strconv"
	"testing"
)

// waiting is how many parallel tests of a package run at a time that wait for engines most of the time.
const waiting = 16

// Run runs the tests of a package that wait for engines most of the time, and returns the exit code of TestMain. More of its parallel tests run
// at a time than there are cores. The flag -parallel has precedence.
func Run(m *testing.M) int {
	flag.Parse()
	if err := runAtOnce(flag.CommandLine, waiting); err != nil {
		panic(err) // package testing has a flag of that name
	}
	return m.Run()
}

// runAtOnce sets the flag -test.parallel, unless the command line has.
func runAtOnce(flags *flag.FlagSet, n int) error {
	const name = "test.parallel"
	given := false
	flags.Visit(func(f *flag.Flag) { given = given || f.Name == name })
	if given {
		return nil
	}
	return flags.Set(name, strconv.Itoa(n))
}
