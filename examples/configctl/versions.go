package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/go-os/go-os/control/config"
	"github.com/go-os/go-os/control/config/versions"
)

// bounded returns ctx with the timeout for the store.
func (t *tool) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, t.timeout)
}

// advice adds the remedy to a conflict.
func advice(err error) error {
	if errors.Is(err, config.ErrConflict) {
		return fmt.Errorf("%w\n  `configctl history` and `configctl diff` show what was done; then do it again on top of that", err)
	}
	return err
}

func none(args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("unexpected argument %q: %w", args[0], errUsage)
	}
	return nil
}

// number parses the number of a version.
func number(s string) (int, error) {
	n, err := strconv.Atoi(strings.TrimPrefix(s, "v"))
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%q is no version: a version is a number, as history shows it: %w", s, errUsage)
	}
	return n, nil
}

func publish(set *flag.FlagSet) action {
	var d versions.Draft
	var percent float64
	set.StringVar(&d.Message, "message", "", "why")
	set.StringVar(&d.Format, "format", "", "yaml, json or toml (default: by the file's name)")
	set.IntVar(&d.Parent, "parent", 0, "the version that the document was made from: refuse if another is in force (default: whatever is)")
	set.Float64Var(&percent, "percent", 100, "how many of the instances get it; below 100 it is the candidate of a rollout")
	return func(ctx context.Context, t *tool, args []string) error {
		if len(args) != 1 {
			return fmt.Errorf("publish takes one file, or - for the standard input: %w", errUsage)
		}
		text, err := read(args[0], t.in)
		if err != nil {
			return err
		}
		d.Name, d.Document, d.Author = args[0], text, t.author
		if d.Format == "" {
			d.Format = strings.Replace(strings.TrimPrefix(filepath.Ext(args[0]), "."), "yml", config.YAML, 1)
		}
		if !slices.Contains([]string{config.YAML, config.JSON, config.TOML}, d.Format) {
			return fmt.Errorf("%w: %s: the format %q is none of yaml, json, toml: name it with -format: %w", config.ErrInvalid, args[0], d.Format, errUsage)
		}
		ctx, cancel := t.bounded(ctx)
		defer cancel()
		if percent >= 100 {
			v, err := t.versions.Publish(ctx, d)
			return t.said(err, "version %d is in force for all instances", v.Number)
		}
		v, err := t.versions.Stage(ctx, d, percent)
		return t.said(err, "version %d is the candidate, for %v %% of the instances; go on with advance, promote, abort or guide", v.Number, percent)
	}
}

// read reads a file, or the standard input.
func read(name string, in io.Reader) (string, error) {
	if name == "-" {
		text, err := io.ReadAll(in)
		return string(text), err
	}
	text, err := os.ReadFile(name)
	return string(text), err
}

// said prints a message, or returns the error with advice.
func (t *tool) said(err error, format string, args ...any) error {
	if err != nil {
		return advice(err)
	}
	_, err = fmt.Fprintf(t.out, format+"\n", args...)
	return err
}

func get(*flag.FlagSet) action {
	return func(ctx context.Context, t *tool, args []string) error {
		ctx, cancel := t.bounded(ctx)
		defer cancel()
		n := 0
		var err error
		switch len(args) {
		case 0:
			head, headErr := t.versions.Head(ctx)
			n, err = head.Stable, headErr
		case 1:
			n, err = number(args[0])
		default:
			err = none(args[1:])
		}
		if err != nil {
			return err
		}
		v, err := t.versions.Get(ctx, n)
		if err != nil {
			return err
		}
		_, err = io.WriteString(t.raw, v.Document)
		return err
	}
}

// hint adds to a config.ErrNotFound that the layer is empty, if it is.
func (t *tool) hint(ctx context.Context, err error) error {
	if !errors.Is(err, config.ErrNotFound) {
		return err
	}
	ctx, cancel := t.bounded(ctx)
	defer cancel()
	if _, none := t.versions.Head(ctx); errors.Is(none, config.ErrNotFound) {
		return fmt.Errorf("%s: %w", t.nothing(), err)
	}
	return err
}

// nothing returns the message for an empty layer, with the remedy.
func (t *tool) nothing() string {
	return fmt.Sprintf("nothing was published in layer %s: is its name right? `configctl publish FILE` begins one", field(t.layer))
}

func history(set *flag.FlagSet) action {
	most := set.Int("n", 50, "how many versions to list at most")
	return func(ctx context.Context, t *tool, args []string) error {
		if err := none(args); err != nil {
			return err
		}
		ctx, cancel := t.bounded(ctx)
		defer cancel()
		head, err := t.versions.Head(ctx)
		if err != nil {
			return err
		}
		past := lineage{tool: t, head: head, next: head.Stable}
		tab := tabwriter.NewWriter(t.out, 0, 0, 2, ' ', 0)
		_, _ = fmt.Fprintln(tab, "VERSION\tTIME\tAUTHOR\tSTATE\tMESSAGE")
		n := 0
		for v, err := range t.versions.History(ctx) {
			if err != nil {
				return errors.Join(err, tab.Flush())
			}
			if n++; n > *most {
				_, _ = fmt.Fprintln(tab, "…\t\t\t\t-n shows more")
				break
			}
			state, err := past.state(ctx, v)
			if err != nil {
				return errors.Join(err, tab.Flush())
			}
			_, _ = fmt.Fprintf(tab, "%d\t%s\t%s\t%s\t%s\n", v.Number, v.Time.Local().Format(time.DateTime), field(v.Author), state, field(v.Message))
		}
		return tab.Flush()
	}
}

// lineage follows the versions that were in force, from the newest to the oldest.
type lineage struct {
	*tool
	head versions.Head
	next int // the next older version that was in force
}

// state describes a version. Each version that was in force has its predecessor as its parent.
func (l *lineage) state(ctx context.Context, v versions.Version) (string, error) {
	if v.Number == l.next {
		l.next = v.Parent
		switch {
		case v.Number == l.head.Stable:
			return "in force", nil
		case v.Restored > 0:
			return fmt.Sprintf("as version %d", v.Restored), nil
		}
		return "", nil
	}
	if r := l.head.Rollout; r != nil && r.Candidate == v.Number {
		return fmt.Sprintf("candidate, %v %%", r.Percent), nil
	}
	switch _, err := l.versions.Rollout(ctx, v.Number); {
	case err == nil:
		return "candidate, aborted", nil
	case errors.Is(err, config.ErrNotFound): // its publication lost a race, or was interrupted
		return "never in force", nil
	default:
		return "", err
	}
}

func diff(*flag.FlagSet) action {
	return func(ctx context.Context, t *tool, args []string) error {
		ctx, cancel := t.bounded(ctx)
		defer cancel()
		from, to, err := t.pair(ctx, args)
		if err != nil {
			return err
		}
		return t.diff(ctx, from, to)
	}
}

// pair returns the versions to compare.
func (t *tool) pair(ctx context.Context, args []string) (from, to int, err error) {
	if len(args) > 2 {
		return 0, 0, none(args[2:])
	}
	var numbers []int
	for _, arg := range args {
		n, err := number(arg)
		if err != nil {
			return 0, 0, err
		}
		numbers = append(numbers, n)
	}
	if len(numbers) == 2 {
		return numbers[0], numbers[1], nil
	}
	head, err := t.versions.Head(ctx)
	if err != nil {
		return 0, 0, err
	}
	if len(numbers) == 1 {
		return numbers[0], head.Stable, nil
	}
	to = head.Stable
	if head.Rollout != nil {
		to = head.Rollout.Candidate
	}
	v, err := t.versions.Get(ctx, to)
	return v.Parent, to, err
}

func (t *tool) diff(ctx context.Context, from, to int) error {
	all, err := t.versions.Diff(ctx, from, to)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return t.said(nil, "versions %d and %d say the same", from, to)
	}
	for _, d := range all {
		if err := t.said(nil, "%s", d); err != nil {
			return err
		}
	}
	return nil
}

func rollback(set *flag.FlagSet) action {
	message := set.String("message", "", "why")
	return func(ctx context.Context, t *tool, args []string) error {
		if len(args) != 1 {
			return fmt.Errorf("rollback takes the version whose document should be in force again: %w", errUsage)
		}
		n, err := number(args[0])
		if err != nil {
			return err
		}
		ctx, cancel := t.bounded(ctx)
		defer cancel()
		v, err := t.versions.Rollback(ctx, n, t.author, *message)
		return t.said(err, "version %d, which says what version %d did, is in force for all instances", v.Number, n)
	}
}
