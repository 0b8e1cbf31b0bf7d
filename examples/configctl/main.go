// Command configctl publishes configuration to a store that services follow with versions.Published. It lists and compares versions, rolls
// back, and rolls out.
//
//	go run ./examples/configctl -store etcd://127.0.0.1:2379 -layer prod/application/shop publish shop.yaml
//	go run ./examples/configctl -store bolt:///tmp/config.db -layer prod/base history
//
// The flag -h lists the commands, and after a command its flags.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/user"
	"slices"
	"strings"
	"time"

	"github.com/go-os/go-os/control/config/versions"
	"github.com/go-os/go-os/examples/internal/commandline"
	"github.com/go-os/go-os/state/kv"
)

func main() {
	commandline.Main(
		func(ctx context.Context, args []string) error { return run(ctx, args, os.Stdin, os.Stdout, os.Stderr) },
		func(err error) { fmt.Fprintln(printable{os.Stderr}, "configctl:", err) },
	)
}

var errUsage = commandline.ErrUsage

// command is one command of configctl.
type command struct {
	name, args, what string
	// flags defines the flags of the command, and returns its action.
	flags func(*flag.FlagSet) action
}

// action runs a command with the arguments that are left after its flags.
type action func(ctx context.Context, t *tool, args []string) error

// tool has the layer and the streams that commands use.
type tool struct {
	store    *kv.Store
	versions *versions.Layer
	layer    string
	author   string
	timeout  time.Duration
	streams
}

// options are the flags before the command.
type options struct {
	store, layer, author, schema string
	timeout                      time.Duration
	creates                      bool // the command may create the store
}

var commands = []command{
	{"publish", "FILE", "put a document into force, or give it to a part of the instances (-percent)", publish},
	{"get", "[N]", "print the document that is in force, or that of version N", get},
	{"history", "", "list what was published, the newest first", history},
	{"diff", "[A] [B]", "compare version A with B; without them, what is in force with what was before", diff},
	{"rollback", "N", "publish the document of version N again", rollback},
	{"status", "", "show what is in force, the rollout under way, and what the instances say", status},
	{"advance", "PERCENT", "give the candidate of the rollout to more instances", advance},
	{"promote", "", "put the candidate into force for all", ending("the candidate is in force for all instances", (*versions.Layer).Promote)},
	{"abort", "", "take the candidate back", ending("the rollout is over, and what was in force before is again", (*versions.Layer).Abort)},
	{"guide", "", "take the rollout to its end, step by step, or back if the canaries are ill", guide},
	{"watch", "", "print every change until interrupted (not on redis)", watch},
}

// run parses the command line and runs the command.
func run(ctx context.Context, args []string, in io.Reader, out, errs io.Writer) error {
	var o options
	std := newStreams(in, out, errs)
	set := flag.NewFlagSet("configctl", flag.ContinueOnError)
	set.SetOutput(std.err)
	set.StringVar(&o.store, "store", "", "where versions are kept: etcd://host:port, consul://host:port, redis://host:port, or bolt:///path/of/a/file while no other process has it open")
	set.StringVar(&o.layer, "layer", "", "the layer, such as prod/application/shop or prod/base")
	set.StringVar(&o.author, "author", whoami(), "who does it, for the record")
	set.StringVar(&o.schema, "schema", "", "a file with a JSON Schema that published documents must fit")
	set.DurationVar(&o.timeout, "timeout", 10*time.Second, "how long the store, and the -health of guide, may take to answer")
	set.Usage = func() { usage(set) }
	if err := set.Parse(args); err != nil {
		return commandline.Usage(err)
	}
	if set.NArg() == 0 {
		usage(set)
		return fmt.Errorf("no command: %w", errUsage)
	}
	c, err := find(set.Arg(0))
	if err != nil {
		return err
	}
	own := flag.NewFlagSet("configctl "+c.name, flag.ContinueOnError)
	own.SetOutput(std.err)
	own.Usage = func() {
		fmt.Fprintf(std.err, "configctl [flags] %s [flags] %s\n  %s\n", c.name, c.args, c.what)
		printFlags(own)
	}
	do := c.flags(own)
	rest, err := commandline.ParseMixed(own, set.Args()[1:])
	if err != nil {
		return err
	}
	o.creates = c.name == "publish"
	return o.with(ctx, std, func(t *tool) error { return do(ctx, t, rest) })
}

func usage(set *flag.FlagSet) {
	out := set.Output()
	fmt.Fprint(out, "Publishes configuration, and shows what became of it.\n\n  configctl -store URL -layer LAYER COMMAND …\n\nCommands:\n")
	for _, c := range commands {
		fmt.Fprintf(out, "  %-18s %s\n", c.name+" "+c.args, c.what)
	}
	fmt.Fprint(out, "\nFlags:\n")
	printFlags(set)
}

// printFlags prints the flags of a set. It replaces the tabs of package flag by spaces, since the output escapes tabs.
func printFlags(set *flag.FlagSet) {
	out := set.Output()
	defer set.SetOutput(out)
	var text strings.Builder
	set.SetOutput(&text)
	set.PrintDefaults()
	fmt.Fprint(out, strings.ReplaceAll(text.String(), "\t", "    "))
}

func find(name string) (command, error) {
	i := slices.IndexFunc(commands, func(c command) bool { return c.name == name })
	if i >= 0 {
		return commands[i], nil
	}
	hint := ""
	for _, c := range commands {
		if strings.HasPrefix(c.name, name[:min(2, len(name))]) {
			hint = "; did you mean " + c.name + "?"
		}
	}
	return command{}, fmt.Errorf("there is no command %q%s: %w", name, hint, errUsage)
}

func whoami() string {
	me, err := user.Current()
	if err != nil {
		return ""
	}
	return cmp.Or(me.Username, me.Uid)
}

// with opens the store, and closes it after the command.
func (o options) with(ctx context.Context, std streams, do func(*tool) error) (err error) {
	switch {
	case o.store == "":
		return fmt.Errorf("-store is missing: %w", errUsage)
	case o.layer == "":
		return fmt.Errorf("-layer is missing, such as -layer prod/application/shop: %w", errUsage)
	}
	vo := &versions.Options{Telemetry: quiet}
	if o.schema != "" {
		if vo.Schema, err = os.ReadFile(o.schema); err != nil {
			return err
		}
	}
	store, closeStore, err := o.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeStore()) }()
	published, err := versions.New(store, o.layer, vo)
	if err != nil {
		return err
	}
	t := &tool{store: store, versions: published, layer: o.layer, author: o.author, timeout: o.timeout, streams: std}
	return t.hint(ctx, do(t))
}
