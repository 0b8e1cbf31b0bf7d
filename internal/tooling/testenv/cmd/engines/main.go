// Command engines prepares the engines of the tests. It builds Go programs into the user's cache, finds the others, and prints the place of
// each.
//
//	go run ./internal/tooling/testenv/cmd/engines [-list] [name…]
//
// Without names it handles all engines. With -list it builds nothing. Its exit status is 1 when an engine is missing.
//
// A pipeline runs it before "OS_TEST_ENGINES=require go test ./...", so that minutes of building do not count against the time limit of a
// test.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"

	"github.com/go-os/go-os/internal/tooling/testenv"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	finder, err := testenv.NewFinder()
	if err == nil {
		err = run(ctx, os.Args[1:], os.Stdout, finder, testenv.Engines())
	}
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "engines:", err)
		stop()
		os.Exit(1)
	}
}

// run executes the command line args.
func run(ctx context.Context, args []string, out io.Writer, finder *testenv.Finder, engines []*testenv.Engine) error {
	flags := flag.NewFlagSet("engines", flag.ContinueOnError)
	list := flags.Bool("list", false, "say what is there, and build nothing")
	if err := flags.Parse(args); err != nil {
		return err
	}
	engines, err := choose(engines, flags.Args())
	if err != nil {
		return err
	}
	finder.Mode = testenv.Require // the command builds every engine it is asked for, light or heavy
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	var problems []error
	for _, engine := range engines {
		find := finder.Find
		if *list {
			find = func(_ context.Context, e *testenv.Engine) (testenv.Program, error) { return finder.Lookup(e) }
		}
		program, err := find(ctx, engine)
		state := "built"
		switch {
		case err != nil:
			state = "missing"
			problems = append(problems, err)
		case !program.Pinned:
			state = "installed"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", engine.Name, engine.Weight, state, program.Path)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	return errors.Join(problems...)
}

// choose returns the engines with the given names, or all engines if there are no names.
func choose(engines []*testenv.Engine, names []string) ([]*testenv.Engine, error) {
	if len(names) == 0 {
		return engines, nil
	}
	var known []string
	for _, engine := range engines {
		known = append(known, engine.Name)
	}
	var chosen []*testenv.Engine
	for _, name := range names {
		i := slices.Index(known, name)
		if i < 0 {
			return nil, fmt.Errorf("no engine is called %q: there are %s", name, strings.Join(known, ", "))
		}
		chosen = append(chosen, engines[i])
	}
	return chosen, nil
}
