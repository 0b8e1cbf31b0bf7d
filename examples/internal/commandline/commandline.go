// Package commandline has what the programs with arguments share: how they end, and how flags are parsed.
package commandline

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// ErrUsage means that the arguments of a program are wrong.
var ErrUsage = errors.New("see -h")

// Main runs a program until it ends, or is interrupted, which ends the context. report prints an error. The exit status is 2 if the arguments
// are wrong, and 1 after any other error. Main returns after success.
func Main(run func(ctx context.Context, args []string) error, report func(error)) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	err := run(ctx, os.Args[1:])
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
	case errors.Is(err, ErrUsage):
		report(err)
		os.Exit(2)
	default:
		report(err)
		os.Exit(1)
	}
}

// Usage marks an error of package flag as ErrUsage, unless it is flag.ErrHelp.
func Usage(err error) error {
	if errors.Is(err, flag.ErrHelp) {
		return err
	}
	return fmt.Errorf("%w: %w", err, ErrUsage)
}

// ParseMixed parses flags before and after the other arguments, which it returns.
func ParseMixed(set *flag.FlagSet, args []string) (rest []string, err error) {
	for {
		if err := set.Parse(args); err != nil {
			return nil, Usage(err)
		}
		if set.NArg() == 0 {
			return rest, nil
		}
		rest, args = append(rest, set.Arg(0)), set.Args()[1:]
	}
}
