// Command registry shows the records in a registry of package discovery, and drains instances.
//
//	go run ./examples/registry -registry etcd://127.0.0.1:2379?namespace=services
//	go run ./examples/registry -registry etcd://127.0.0.1:2379?namespace=services watch orders
//	go run ./examples/registry -registry etcd://127.0.0.1:2379?namespace=services drain orders orders-1
//	go run ./examples/registry -registry 'dns://10.96.0.10:53/default.svc.cluster.local?grpc=9000' list orders
//
// The flag -h lists the commands, and after a command its flags. The exit status is 1 if a command fails, and 2 if its arguments are wrong.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/go-os/go-os/examples/internal/commandline"
)

func main() {
	commandline.Main(
		func(ctx context.Context, args []string) error { return run(ctx, args, os.Stdout, os.Stderr) },
		func(err error) { fmt.Fprintln(os.Stderr, "registry:", plain(err.Error())) },
	)
}

var errUsage = commandline.ErrUsage

// command is one command of the program.
type command struct {
	name, args, what string
	// flags defines the flags of the command, and returns its action.
	flags func(*flag.FlagSet) action
}

// action runs a command with the arguments that are left after its flags.
type action func(ctx context.Context, t *tool, args []string) error

// tool holds the dependencies of the commands.
type tool struct {
	registry
	timeout time.Duration
	out     io.Writer
}

var commands = []command{
	{"list", "[SERVICE …]", "list the instances of services, of all by default", list},
	{"watch", "[SERVICE …]", "print every change until interrupted", watch},
	{"drain", "SERVICE ID", "have an instance finish its requests and take no new ones", drain},
	{"undrain", "SERVICE ID", "have an instance take requests again", undrain},
}

// run parses the command line and runs the command.
func run(ctx context.Context, args []string, out, errs io.Writer) error {
	set := flag.NewFlagSet("registry", flag.ContinueOnError)
	set.SetOutput(errs)
	where := set.String("registry", "", "etcd://host:port, consul://host:port or nats://host:port (key-value), with ?namespace= of the services;\ncatalog://host:port for Consul's own catalog, which consul:// does not show;\nor dns://host:port/domain with ?PROTOCOL=PORT, or ?PROTOCOL=srv, for each protocol")
	timeout := set.Duration("timeout", 10*time.Second, "how long the registry, or the process of an instance, may take to answer")
	set.Usage = func() { usage(set) }
	if err := set.Parse(args); err != nil {
		return commandline.Usage(err)
	}
	name, rest := "list", set.Args()
	if len(rest) > 0 {
		name, rest = rest[0], rest[1:]
	}
	i := slices.IndexFunc(commands, func(c command) bool { return c.name == name })
	if i < 0 {
		return fmt.Errorf("there is no command %q: %w", name, errUsage)
	}
	c := commands[i]
	own := flag.NewFlagSet("registry "+c.name, flag.ContinueOnError)
	own.SetOutput(errs)
	own.Usage = func() {
		fmt.Fprintf(errs, "registry [flags] %s [flags] %s\n  %s\n", c.name, c.args, c.what)
		own.PrintDefaults()
	}
	do := c.flags(own)
	rest, err := commandline.ParseMixed(own, rest)
	if err != nil {
		return err
	}
	r, err := open(ctx, *where, *timeout)
	if err != nil {
		return err
	}
	return errors.Join(do(ctx, &tool{registry: r, timeout: *timeout, out: out}, rest), r.close())
}

func usage(set *flag.FlagSet) {
	out := set.Output()
	fmt.Fprint(out, "Shows the services of a registry and their instances, and drains instances.\n\n  registry -registry URL [COMMAND …]\n\nCommands (default: list):\n")
	for _, c := range commands {
		fmt.Fprintf(out, "  %-20s %s\n", c.name+" "+c.args, c.what)
	}
	fmt.Fprint(out, "\nFlags:\n")
	set.PrintDefaults()
}

// plain replaces unprintable characters, so that a text from the registry can neither control the terminal nor begin another line.
func plain(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\u2028' || r == '\u2029' || r >= 0x80 && r < 0xa0 {
			return '�'
		}
		return r
	}, text)
}
