// Package dnsdiscovery finds the instances of services in DNS: SRV records, or addresses with a known port, such as the headless services of
// Kubernetes.
//
//	registry, err := dnsdiscovery.New(&dnsdiscovery.Options{
//		Domain:    "default.svc.cluster.local",
//		Protocols: map[string]dnsdiscovery.Protocol{"grpc": {Port: 9000}},
//	})
//	…
//	resolver, err := discovery.NewResolver(registry, nil)
//
// The driver only reads: the zone's operator registers the instances.
//
// # Instances
//
// A [Protocol] with a port queries addresses. Each address is an instance with the address as its ID. Its weight is 1.
//
// A Protocol without a port queries SRV records (RFC 2782). Each target with its port is an instance with the ID "target:port", even if the
// address of the target changes. The labels [LabelPriority] and [LabelWeight] carry the values of the record. An instance of the lowest
// priority has the weight of the record, and at least 1. Instances of higher priorities have the weight 0, since they are for clients that
// reach none of the others.
//
// Two protocols with one ID are one instance. A name has IPv4 addresses or, if it has none, IPv6 addresses: see [Options.Network]. A target
// with several addresses is one instance, at the lowest of them.
//
// Consul's DNS has the SRV records of a service that package consuldiscovery has registered for the protocol grpc under the Name
// "_{service}._grpc.service.consul". Servers are then the DNS ports of agents, such as "127.0.0.1:8600".
//
// A target that does not resolve, or that is malformed, is an invalid record. It affects no other record, and keeps its last address.
//
// # Failures
//
// A question that fails (no answer, SERVFAIL, REFUSED) keeps its last answer for as long as it fails. The watch is reported as lost, so
// discovery.Snapshot.Age grows.
//
// A name that no longer exists (NXDOMAIN) or has no records keeps its instances for [Options.Keep], since DNS servers also send such
// answers by mistake. Then they are gone. An SRV record with the target "." or the port 0 means explicitly that there is no instance (RFC
// 2782), and applies at once.
//
// An instance that is missing among others has vanished without a goodbye: DNS has none. A discovery.Resolver therefore holds instances if a
// roll-out replaces many of them at once. They leave when connections to them fail and are reported, or with ResolverOptions.HoldTime.
//
// # Traffic
//
// An idle watch repeats each question when its TTL has passed, between [Options.MinTTL] and [Options.MaxTTL], and up to a tenth later. A
// failed question is retried after MinTTL at most. A target of SRV records that fails repeatedly is queried less often, up to eight times
// less.
//
// A question goes to one server at a time, over UDP with EDNS(0), and over TCP if the answer is truncated. A server that does not answer is
// replaced by the next one, which is then queried first. Answers are reported together if they arrive within half of [Options.Timeout]. A
// resolved target does not wait longer for the others.
package dnsdiscovery

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/go-os/go-os/control/discovery/driver"
	"github.com/go-os/go-os/internal/defaults"
)

// The labels of instances from SRV records.
const (
	// LabelPriority is the priority of the SRV record. Lower values are preferred.
	LabelPriority = "dns.priority"
	// LabelWeight is the weight of the SRV record.
	LabelWeight = "dns.weight"
)

// The defaults of Options.
const (
	DefaultMinTTL  = 5 * time.Second
	DefaultMaxTTL  = 5 * time.Minute
	DefaultTimeout = 2 * time.Second
	DefaultKeep    = time.Hour
	// DefaultResolvConf names the servers if Options do not.
	DefaultResolvConf = "/etc/resolv.conf"
)

// Protocol configures where DNS has the instances of a protocol.
type Protocol struct {
	// Port of the protocol. The question is for addresses (A and AAAA). Zero queries SRV records, which contain the port.
	Port int
	// Name is the DNS name; "{service}" is replaced by the service. It is absolute, with or without a dot at the end. Without "{service}"
	// it is the name of one service: a Resolver finds the same instances under every name that it looks up. Default: "{service}.<Domain>"
	// with a port, and "_<protocol>._tcp.{service}.<Domain>" without one.
	Name string
}

// Options configure New.
type Options struct {
	// Servers are the addresses of the DNS servers, each an IP address with a port: "10.96.0.10:53". Default: the servers that ResolvConf
	// names. Its search domains do not matter, since all names are absolute.
	Servers []string
	// ResolvConf is a file in the format of resolv.conf(5). It is read again before each round of questions. Default: DefaultResolvConf.
	ResolvConf string
	// Domain is the parent of all services, such as "default.svc.cluster.local". Required by protocols without a Name.
	Domain string
	// Protocols by name, such as "grpc". Required.
	Protocols map[string]Protocol
	// Network is "ip4" or "ip6" to use addresses of this kind only. Default: IPv4 addresses, and IPv6 addresses of names without any.
	Network string
	// MinTTL is the shortest time between two questions for the same name, regardless of the TTL. Default: DefaultMinTTL.
	MinTTL time.Duration
	// MaxTTL is the longest such time. Default: DefaultMaxTTL, or MinTTL if that is longer.
	MaxTTL time.Duration
	// Timeout is how long a server may take to answer. Each server gets two attempts. Default: DefaultTimeout.
	Timeout time.Duration
	// Keep is the grace period before an absent name removes its instances. It begins with the first answer that the name does not exist,
	// or has no records. It ends early if records reappear. Default: DefaultKeep.
	Keep time.Duration
}

func (o *Options) withDefaults() (Options, error) {
	all := defaults.Copy(o)
	if all.ResolvConf == "" {
		all.ResolvConf = DefaultResolvConf
	}
	return all, cmp.Or(
		defaults.Fill("dnsdiscovery.Options.MinTTL", &all.MinTTL, DefaultMinTTL),
		defaults.Fill("dnsdiscovery.Options.MaxTTL", &all.MaxTTL, max(DefaultMaxTTL, all.MinTTL)),
		defaults.Fill("dnsdiscovery.Options.Timeout", &all.Timeout, DefaultTimeout),
		defaults.Fill("dnsdiscovery.Options.Keep", &all.Keep, DefaultKeep),
		all.check(),
	)
}

// check returns ErrInvalid if options contradict each other or are malformed.
func (o *Options) check() error {
	if o.MaxTTL < o.MinTTL {
		return fmt.Errorf("%w: Options.MaxTTL is %s: use at least MinTTL, %s", driver.ErrInvalid, o.MaxTTL, o.MinTTL)
	}
	if len(o.Protocols) == 0 {
		return fmt.Errorf("%w: no protocol: set Options.Protocols, such as {\"grpc\": {Port: 9000}}", driver.ErrInvalid)
	}
	if _, ok := kinds[o.Network]; !ok {
		return fmt.Errorf("%w: Options.Network is %q: use \"ip4\", \"ip6\" or nothing", driver.ErrInvalid, o.Network)
	}
	for _, server := range o.Servers {
		if address, err := netip.ParseAddrPort(server); err != nil || address.Port() == 0 {
			return fmt.Errorf("%w: server %q: use an IP address with a port, such as 10.96.0.10:53", driver.ErrInvalid, server)
		}
	}
	for _, protocol := range slices.Sorted(maps.Keys(o.Protocols)) {
		if err := o.checkProtocol(protocol); err != nil {
			return err
		}
	}
	return nil
}

func (o *Options) checkProtocol(protocol string) error {
	p := o.Protocols[protocol]
	switch {
	case protocol == "":
		return fmt.Errorf("%w: a protocol has no name", driver.ErrInvalid)
	case p.Port < 0 || p.Port > 65535:
		return fmt.Errorf("%w: protocol %q: port %d: use 1 to 65535, or 0 for SRV records", driver.ErrInvalid, protocol, p.Port)
	case p.Name == "" && o.Domain == "":
		return fmt.Errorf("%w: protocol %q: no name: set Options.Domain or Protocol.Name", driver.ErrInvalid, protocol)
	}
	if err := checkDomainName(o.name(protocol, "x")); err != nil {
		return fmt.Errorf("%w: protocol %q: %w", driver.ErrInvalid, protocol, err)
	}
	return nil
}

// name returns the name of a service's instances in DNS, in lower case and with a dot at the end.
func (o *Options) name(protocol, service string) string {
	name := o.Protocols[protocol].Name
	switch {
	case name != "":
	case o.Protocols[protocol].Port != 0:
		name = "{service}." + o.Domain
	default:
		name = "_" + protocol + "._tcp.{service}." + o.Domain
	}
	return strings.ToLower(strings.TrimSuffix(strings.ReplaceAll(name, "{service}", service), ".")) + "."
}

// kinds are the questions for the addresses of a name, by Options.Network.
var kinds = map[string][]dnsmessage.Type{
	"":    {dnsmessage.TypeA, dnsmessage.TypeAAAA},
	"ip4": {dnsmessage.TypeA},
	"ip6": {dnsmessage.TypeAAAA},
}

// Registry is a registry in DNS. It implements driver.Reader.
type Registry struct {
	opts   Options
	client *client
}

// New returns a registry. It sends no question. It returns driver.ErrInvalid if an option is missing or malformed.
func New(opts *Options) (*Registry, error) {
	o, err := opts.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("dnsdiscovery: New: %w", err)
	}
	return &Registry{opts: o, client: newClient(o.Timeout)}, nil
}

// System implements driver.Reader.
func (*Registry) System() string { return "dns" }

// Close implements driver.Reader. It does nothing: no connection outlives its question.
func (*Registry) Close() error { return nil }

// Watch implements driver.Reader. It returns driver.ErrInvalid if the service cannot be part of a DNS name.
func (r *Registry) Watch(ctx context.Context, service string, emit func(driver.Event) error) error {
	w := &watch{service: service, questions: questions{registry: r, answers: make(chan func())}}
	for _, protocol := range slices.Sorted(maps.Keys(r.opts.Protocols)) {
		name := r.opts.name(protocol, service)
		if err := checkDomainName(name); err != nil {
			return fmt.Errorf("%w: service %q: %w", driver.ErrInvalid, service, err)
		}
		w.parts = append(w.parts, &part{protocol: protocol, name: name, port: r.opts.Protocols[protocol].Port, hosts: map[string]*cached{}})
	}
	return w.run(ctx, emit)
}
