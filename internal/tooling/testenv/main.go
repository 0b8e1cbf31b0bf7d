package testenv

import (
	"flag"
	"strconv"
	"testing"
)

// waiting is how many parallel tests run at a time in a package whose tests mostly wait for engines.
const waiting = 16

// Run runs the tests of a package that mostly waits for engines, and returns the exit code. Call it in TestMain:
//
//	func TestMain(m *testing.M) { os.Exit(testenv.Run(m)) }
//
// More parallel tests run at a time than there are cores; the flag -parallel has precedence. On Linux, engines keep their files in memory
// if enough is free. Do not use Run where the speed of an engine is measured.
func Run(m *testing.M) int {
	inMemory.Store(true)
	flag.Parse()
	if err := runAtOnce(flag.CommandLine, waiting); err != nil {
		panic(err) // package testing has a flag of that name
	}
	return m.Run()
}

// runAtOnce sets the flag -test.parallel, unless the command line has set it.
func runAtOnce(flags *flag.FlagSet, n int) error {
	const name = "test.parallel"
	given := false
	flags.Visit(func(f *flag.Flag) { given = given || f.Name == name })
	if given {
		return nil
	}
	return flags.Set(name, strconv.Itoa(n))
}
