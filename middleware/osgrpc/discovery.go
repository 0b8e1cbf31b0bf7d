package osgrpc

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"reflect"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/log"
	"google.golang.org/grpc"
	"google.golang.org/grpc/attributes"
	"google.golang.org/grpc/balancer/roundrobin"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/status"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/control/router"
	"github.com/go-os/go-os/internal/bounded"
	"github.com/go-os/go-os/internal/defaults"
	"github.com/go-os/go-os/internal/instrument"
	"github.com/go-os/go-os/internal/option"
	"github.com/go-os/go-os/telemetry"
)

// The defaults of DiscoveryOptions.
const (
	DefaultProtocol      = "grpc"
	DefaultLookupTimeout = 5 * time.Second
)

// DiscoveryOptions configure WithDiscovery. A negative option is reported to OpenTelemetry's error handler, and the default is used.
type DiscoveryOptions struct {
	// Protocol is the key of an instance's address. Instances without it get no calls. Default: DefaultProtocol.
	Protocol string
	// Filters choose among the instances of every service, such as discovery.InZone("a").
	Filters []discovery.Filter
	// Timeout is how long calls wait for the registry's first answer about a service. Default: DefaultLookupTimeout.
	Timeout time.Duration
	// Router chooses the instance of each call, and repeats calls that fail, by its policies. Default: calls go round the instances.
	Router *router.Router
	// Request completes what the Router knows about a call of a method, "/package.Service/Method": a key, an arm, labels, whether the call is
	// idempotent. Before, the request is idempotent and hedgeable if the descriptor of the method has the option idempotency_level. Streams
	// are never hedged. Only with a Router. Default: nothing more.
	Request func(ctx context.Context, fullMethod string, r *router.Request)
	// Fallback returns the connection to a service that gets a call after this one has failed, by router.Policy.Fallback. Return the same
	// ClientConn for each call. Only with a Router. Default: no fallback, even if a policy names one.
	Fallback func(service string) grpc.ClientConnInterface
	// Telemetry receives events. A no-op provider turns them off.
	Telemetry telemetry.Providers
}

// WithDiscovery returns the options for grpc.NewClient that resolve targets such as "os:///orders". Calls go to the instances of the
// service in the resolver. Pass them after DialOptions and before any others.
//
//	options := append(osgrpc.DialOptions(nil), osgrpc.WithDiscovery(resolver, nil)...)
//	conn, err := grpc.NewClient("os:///orders", append(options, credentials)...)
//
// With DiscoveryOptions.Router, a router.Router chooses the instance of each call. Without it the calls go round the available instances. Then
// the default service config has round_robin, a program's own service config must name its balancer too, and if no instance is available, calls
// go to the unhealthy ones, else to the draining ones, else to the ones of weight zero.
//
// Balancers find the instance by [InstanceOf]. A change of weight, state or labels keeps the connections.
//
// The name of the service is the authority: TLS verifies a certificate for "orders", not for an address. No proxy is used.
//
// While the registry is out of reach, the last known instances stay. If there are none yet, calls fail with UNAVAILABLE after
// DiscoveryOptions.Timeout, including calls that wait for ready. If the registry has no instance of the service, or all have deregistered,
// calls fail at once. Calls that wait for ready wait for an instance. The message names the service and the cause.
//
// A call carries the name of its service in the metadata goos-service. A server with Options.Services refuses calls for other services.
// Then the instance gets no calls for 30 seconds or until its record changes, and the call is sent to another one, since no handler has
// seen it. The same applies to a stream that has sent at most 16 messages. The third refusal is returned. Failed connections are reported
// to the resolver, unless a grpc.WithContextDialer that follows replaces the dialer.
func WithDiscovery(r *discovery.Resolver, opts *DiscoveryOptions) []grpc.DialOption {
	return newDirectory(r, opts).options()
}

// options returns the options for grpc.NewClient.
func (d *directory) options() []grpc.DialOption {
	options := []grpc.DialOption{
		grpc.WithResolvers(d),
		grpc.WithDefaultServiceConfig(fmt.Sprintf(`{"loadBalancingConfig":[{%q:{}}]}`, d.balancer())),
		grpc.WithContextDialer(d.dial),
		grpc.WithChainUnaryInterceptor(d.unary),
		grpc.WithChainStreamInterceptor(d.stream),
	}
	if d.opts.Router != nil {
		options = append(options, grpc.WithDisableRetry()) // the router owns retries
	}
	return options
}

// balancer returns the name of gRPC's load balancing policy.
func (d *directory) balancer() string {
	if d.opts.Router != nil {
		return balancerName
	}
	return roundrobin.Name
}

// scheme is the scheme of targets: scheme:///service.
const scheme = "os"

// directory resolves the targets of the ClientConns with the options of one WithDiscovery call. It implements resolver.Builder.
type directory struct {
	resolver    *discovery.Resolver
	opts        DiscoveryOptions
	misdirected *instrument.Event

	services   sync.Map                    // of *service by name
	idempotent bounded.Cache[string, bool] // methods that may be called twice
	remotes    sync.Map                    // registered addresses by the remote ends of connections that differ from them, for example for host names
}

func newDirectory(r *discovery.Resolver, opts *DiscoveryOptions) *directory {
	o := defaults.Copy(opts)
	option.Default("osgrpc.DiscoveryOptions", "Timeout", &o.Timeout)
	o.Timeout = cmp.Or(o.Timeout, DefaultLookupTimeout)
	o.Protocol = cmp.Or(o.Protocol, DefaultProtocol)
	return &directory{
		resolver: r,
		opts:     o,
		misdirected: instrument.NewEventOrLine(o.Telemetry, scope, "goos.rpc.client.instance.misdirected", log.SeverityWarn,
			"instance refused a call for another service: it gets none for a while"),
	}
}

// Scheme implements resolver.Builder.
func (*directory) Scheme() string { return scheme }

// Build implements resolver.Builder. gRPC returns its error from the first call.
func (d *directory) Build(target resolver.Target, cc resolver.ClientConn, _ resolver.BuildOptions) (resolver.Resolver, error) {
	name, ok := nameIn(target)
	switch {
	case !ok:
		return nil, status.Errorf(codes.Unavailable, `osgrpc: target %q: use "os:///<service>", such as "os:///orders"`, target.URL.String())
	case d.resolver == nil:
		return nil, status.Errorf(codes.Unavailable, "osgrpc: target %q: the discovery.Resolver of WithDiscovery is nil", target.URL.String())
	}
	c := &conn{service: d.service(name), cc: cc}
	c.service.join(c)
	return c, nil
}

// nameIn returns the service of a target.
func nameIn(target resolver.Target) (name string, ok bool) {
	u := target.URL
	name = strings.TrimPrefix(u.Path, "/")
	odd := u.Host != "" || u.User != nil || u.Opaque != "" || u.RawQuery != "" || u.Fragment != ""
	return name, !odd && name != "" && !strings.Contains(name, "/")
}

// service returns the service of this name.
func (d *directory) service(name string) *service {
	if s, ok := d.services.Load(name); ok {
		return s.(*service)
	}
	s, _ := d.services.LoadOrStore(name, newService(d, name))
	return s.(*service)
}

// serviceOf returns the service that a ClientConn is for, or nil if its target has another scheme.
func (d *directory) serviceOf(cc *grpc.ClientConn) *service {
	name, ok := strings.CutPrefix(cc.Target(), scheme+":///")
	if !ok || d.resolver == nil {
		return nil
	}
	return d.service(name)
}

// dial connects to an instance, and reports the result to the resolver.
func (d *directory) dial(ctx context.Context, address string) (net.Conn, error) {
	network, at := "tcp", address
	if path, ok := strings.CutPrefix(address, "unix:"); ok { // a ClientConn with these options may have another target
		network, at = "unix", path
	}
	c, err := (&net.Dialer{}).DialContext(ctx, network, at)
	if ctx.Err() == nil || err == nil {
		d.report(address, err)
	}
	if err == nil {
		if remote := c.RemoteAddr().String(); remote != address {
			d.remotes.Store(remote, address)
		}
	}
	return c, err
}

// report reports a connection to the instances at an address.
func (d *directory) report(address string, err error) {
	d.services.Range(func(_, s any) bool {
		s.(*service).report(address, err)
		return true
	})
}

// registered returns the address by which an instance at the remote end of a connection is registered.
func (d *directory) registered(remote net.Addr) string {
	text := remote.String()
	if address, ok := d.remotes.Load(text); ok {
		return address.(string)
	}
	return text
}

// forgetRemotes forgets the remote ends of addresses that are no longer offered.
func (d *directory) forgetRemotes() {
	d.remotes.Range(func(remote, address any) bool {
		offered := false
		d.services.Range(func(_, s any) bool {
			offered = len(s.(*service).at(address.(string))) > 0
			return !offered
		})
		if !offered {
			d.remotes.Delete(remote)
		}
		return true
	})
}

// instanceKey is the key of an endpoint's instance among its attributes.
type instanceKey struct{}

// described is an instance as an attribute. It has an Equal that gRPC calls.
type described struct{ discovery.Instance }

// Equal reports whether other is the same instance with the same properties.
func (i *described) Equal(other any) bool {
	o, ok := other.(*described)
	return ok && reflect.DeepEqual(i.Instance, o.Instance)
}

// InstanceOf returns the instance in the attributes of an endpoint, for balancers: its ID, zone, version, labels, weight and state.
func InstanceOf(a *attributes.Attributes) (discovery.Instance, bool) {
	i, ok := a.Value(instanceKey{}).(*described)
	if !ok {
		return discovery.Instance{}, false
	}
	return i.Instance, true
}

const (
	serviceAttr  = attribute.Key("goos.discovery.service")
	instanceAttr = attribute.Key("goos.discovery.instance")
)
