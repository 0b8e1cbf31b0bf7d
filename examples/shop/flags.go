package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"
)

// flags are the flags of the command line.
type flags struct {
	duration      time.Duration
	rate          float64
	service       string
	storefront    string
	orders        string
	ordersMetrics string
	payments      string
	instances     int
	discovery     string
	kv            string
	sync          string
	config        string
	published     string
	night         time.Duration
	fault         string
}

var errUsage = errors.New("see -h")

func parse(args []string, stderr io.Writer) (flags, error) {
	var f flags
	set := flag.NewFlagSet("shop", flag.ContinueOnError)
	set.SetOutput(stderr)
	set.DurationVar(&f.duration, "for", 0, "how long to run, such as 10s; 0 means until interrupted")
	set.Float64Var(&f.rate, "rate", 50, "requests a second that the load generator sends; 0 means none")
	set.StringVar(&f.service, "service", "", "run this service alone: storefront, orders or payments; empty means all three")
	set.StringVar(&f.storefront, "storefront", "127.0.0.1:0", "host:port of the storefront (HTTP); port 0 means a free one")
	set.StringVar(&f.orders, "orders", "127.0.0.1:0", "host:port of orders (gRPC)")
	set.StringVar(&f.ordersMetrics, "orders-metrics", "127.0.0.1:0", "host:port of the /metrics of orders")
	set.StringVar(&f.payments, "payments", "127.0.0.1:0", "host:port of payments (HTTP)")
	set.IntVar(&f.instances, "instances", 0, "how many instances of each service run in this process; 0 means three, or one with -service")
	set.StringVar(&f.discovery, "discovery", memory, "where instances register and are found: memory, etcd://host:port, consul://host:port, nats://host:port,\nwith ?namespace= of the shop, in which the services are in shop/services")
	set.StringVar(&f.kv, "kv", "memory", "where carts are kept: memory, bolt:///path/of/a/file, etcd://host:port, consul://host:port, redis://host:port")
	set.StringVar(&f.sync, "sync", "memory", "where payments services elect the one that settles: memory, etcd://host:port, postgres://user@host:port/database")
	set.StringVar(&f.config, "config", "", "a file of products, switches and limits, such as examples/shop/shop.yaml; edit it while the shop runs")
	set.StringVar(&f.published, "published", "", "a store that configctl publishes to, such as etcd://host:port, or bolt:///path/of/a/file while no other process has it open; layer "+layer)
	set.DurationVar(&f.night, "night", time.Minute, "how long it is from one nightly settlement to the next")
	set.StringVar(&f.fault, "fault", "", "make one instance of payments slow or failing for the second third of -for, or from 10 s to 20 s")
	set.Usage = func() {
		fmt.Fprint(stderr, `Three observed services calling each other: storefront (HTTP) → orders (gRPC) → payments (HTTP).

  go run ./examples/shop -for 10s
  OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318 go run ./examples/shop

Flags:
`)
		set.PrintDefaults()
		fmt.Fprint(stderr, `
One process an instance: they find each other by name, and one of a service can be killed.
  shop -service payments   -discovery etcd://127.0.0.1:2379     in several terminals
  shop -service orders     -discovery etcd://127.0.0.1:2379     as well
  shop -service storefront -discovery etcd://127.0.0.1:2379
  go run ./examples/registry -registry 'etcd://127.0.0.1:2379?namespace=shop/services' watch payments

One process a service, on ports that each must be told:
  shop -service payments   -payments 127.0.0.1:7003
  shop -service orders     -orders 127.0.0.1:7002 -payments 127.0.0.1:7003
  shop -service storefront -orders 127.0.0.1:7002

One instance of payments is slow (or failing) for a while. The report shows how its callers go round it, and return to it:
  shop -for 15s -rate 200 -fault slow
The same at any time, at the address of an instance, and how its callers see it at the address of the /metrics of orders:
  curl -X PUT 127.0.0.1:7003/condition -d slow
  curl 127.0.0.1:7002/routes
  curl -X PUT 127.0.0.1:7003/condition -d well

Prices, switches, limits and routes change while it runs, and a mistake is refused:
  shop -config examples/shop/shop.yaml
  shop -published etcd://127.0.0.1:2379
  go run ./examples/configctl -store etcd://127.0.0.1:2379 -layer `+layer+` publish examples/shop/shop.yaml

Payments services that share -sync settle in turn: kill the one that does, and another takes over.
  shop -service payments   -payments 127.0.0.1:7003 -sync etcd://127.0.0.1:2379 -night 10s
  shop -service payments   -payments 127.0.0.1:7004 -sync etcd://127.0.0.1:2379 -night 10s
  curl 127.0.0.1:7003/settlement
`)
	}
	if err := set.Parse(args); err != nil {
		return f, err
	}
	if err := f.check(set.Args()); err != nil {
		return f, err
	}
	if f.instances == 0 && f.service == "" {
		f.instances = 3
	}
	f.instances = max(f.instances, 1)
	return f, nil
}

func (f flags) check(rest []string) error {
	if len(rest) > 0 {
		return fmt.Errorf("unexpected argument %q: %w", rest[0], errUsage)
	}
	if f.night <= 0 {
		return fmt.Errorf("-night must be above zero: %w", errUsage)
	}
	if f.duration < 0 || !(f.rate >= 0 && f.rate <= 10_000) { // NaN is in no range
		return fmt.Errorf("-for must not be negative, and -rate must be between 0 and 10000: %w", errUsage)
	}
	if f.service != "" && !slices.Contains([]string{"storefront", "orders", "payments"}, f.service) {
		return fmt.Errorf("-service %q: must be storefront, orders or payments: %w", f.service, errUsage)
	}
	if f.fault != "" && (!slices.Contains([]condition{slow, failing}, condition(f.fault)) || !f.runs("payments")) {
		return fmt.Errorf("-fault %q: must be slow or failing, where payments runs: %w", f.fault, errUsage)
	}
	if f.instances < 0 || f.instances > 100 {
		return fmt.Errorf("-instances must be between 1 and 100: %w", errUsage)
	}
	for _, peer := range []struct{ caller, name, addr string }{{"storefront", "orders", f.orders}, {"orders", "payments", f.payments}} {
		_, port, _ := net.SplitHostPort(peer.addr)
		known := port != "" && port != "0"
		switch {
		case f.service != peer.caller || known == (f.discovery == memory):
		case known:
			return fmt.Errorf("-service %s finds %s through -discovery: leave out -%s", f.service, peer.name, peer.name)
		default:
			return fmt.Errorf("-service %s calls %s: say where it listens with -%s host:port, or share -discovery with it", f.service, peer.name, peer.name)
		}
	}
	return nil
}

// memory is the URL of an engine in the memory of the process.
const memory = "memory"

// told reports whether the flags give the address of a called service.
func (f flags) told(service string) bool { return f.discovery == memory && !f.runs(service) }

// runs reports whether a service runs in this process.
func (f flags) runs(service string) bool { return f.service == "" || f.service == service }

func hostOf(url string) string { return strings.TrimPrefix(url, "http://") }
