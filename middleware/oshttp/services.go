package oshttp

import (
	"cmp"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/log"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/control/router"
	"github.com/go-os/go-os/internal/defaults"
	"github.com/go-os/go-os/internal/instrument"
	"github.com/go-os/go-os/telemetry"
)

// DefaultLookupTimeout is the default of ServicesOptions.Timeout.
const DefaultLookupTimeout = 5 * time.Second

// ServicesOptions configure NewServices. Names or Match is required.
type ServicesOptions struct {
	// Names are the hosts that are services: with "orders", requests to http://orders/path go to its instances. Base resolves all other
	// hosts, so that a service registered under the name of a public host cannot redirect requests for that host.
	Names []string
	// Match returns the service that a host is, for hosts that Names does not have, as strings.CutSuffix(host, ".internal") does. A
	// Resolver follows every service that was looked up: do not match hosts from untrusted input. Nil matches none.
	Match func(host string) (service string, ok bool)
	// Filters choose among the instances of every service, such as discovery.InZone("a").
	Filters []discovery.Filter
	// Timeout is how long a request waits for the registry's first answer about its service. Default: DefaultLookupTimeout.
	Timeout time.Duration
	// Base sends requests to other hosts. Connections to instances have its settings, except for Proxy and Dial. Services use no proxy, and
	// call only DialContext and DialTLSContext, with the address of the instance. If TLSHandshakeTimeout or IdleConnTimeout is not set,
	// they have 10 and 90 seconds. Default: http.DefaultTransport.
	Base *http.Transport
	// Router chooses the instances, by their load and health, and decides on retries, hedges and rejections. Its options take the place of
	// Filters and Timeout. Default: requests go round the instances.
	Router *router.Router
	// Request may complete what the Router knows about a request: its Key, Labels or Arm, or that it is not Idempotent or Hedgeable after all.
	// Method, Idempotent, Hedgeable and Stream are set before. It needs a Router. Nil changes nothing.
	Request func(r *http.Request, to *router.Request)
	// Telemetry receives events. A no-op provider turns them off.
	Telemetry telemetry.Providers
}

// Services is an http.RoundTripper that sends requests for services to their instances, which it takes from a discovery.Resolver.
//
//	services, err := oshttp.NewServices(resolver, &oshttp.ServicesOptions{Names: []string{"orders"}})
//	client := &http.Client{Transport: oshttp.NewTransport(services, nil)}
//	res, err := client.Get("http://orders/orders/7")
//
// The service is the host of the URL, in the registry's spelling and without a port. The scheme is the protocol of its instances: http uses
// Addresses["http"], https uses Addresses["https"]. The Host header and the name that TLS verifies are still the request's, so that a
// server certificate is for "orders" and not for an address. Services share no connection, not even at one address.
//
// Requests go round the available instances in proportion to their weights. If there are none they go to the unhealthy ones, else to the
// draining ones. The connections of an instance that is no longer used are closed once they are idle, with the next request to its service.
//
// A request is sent to another instance
//
//   - if no connection could be made, or its TLS handshake failed or took too long: it was not sent;
//   - if the server refused it as misdirected (HandlerOptions.Services): no handler has seen it. The third refusal is returned;
//   - if the connection broke before an answer, or the status is 421 for another reason, and net/http would repeat the request too: its
//     method is GET, HEAD, OPTIONS or TRACE, or it has a header Idempotency-Key.
//
// A body must be replayable for that: it has not been read, or Request.GetBody is set. http.NewRequest sets it for buffers and strings. No
// instance gets a request twice.
//
// A redirect to a service from a host that is not a service is refused: an outside server cannot send requests into the fleet through a
// client. Redirects between services, and from a service to another host, are followed.
//
// With a Router, all this is up to its policy, except for what a body allows. A hedge never shares a body that can be read only once.
//
// A Services is safe for concurrent use. It has no goroutine, and needs no Close: create one for each Resolver, not for each request.
type Services struct {
	resolver    *discovery.Resolver
	opts        ServicesOptions
	names       map[string]bool
	misdirected *instrument.Event

	routes sync.Map // of *route by routeKey

	methods methods
	routed  sync.Map   // of *pools by routeKey; only with a Router
	routing sync.Mutex // held while pools are added
}

// NewServices returns a RoundTripper for the services of resolver. With ServicesOptions.Router the resolver may be nil: the Router has its
// own. It returns discovery.ErrInvalid without a resolver, without Names and Match, or if an option is invalid.
func NewServices(resolver *discovery.Resolver, opts *ServicesOptions) (*Services, error) {
	o, err := opts.withDefaults()
	if o.Router == nil {
		err = cmp.Or(defaults.Given("oshttp: NewServices", "resolver", resolver), err)
	}
	if err != nil {
		return nil, err
	}
	s := &Services{
		resolver: resolver, opts: o, names: map[string]bool{}, methods: newMethods(nil),
		misdirected: instrument.NewEventOrLine(o.Telemetry, scope, "goos.http.client.instance.misdirected", log.SeverityWarn,
			"instance refused a request for another service or instance: it gets none for a while"),
	}
	for _, name := range o.Names {
		s.names[name] = true
	}
	return s, nil
}

func (o *ServicesOptions) withDefaults() (ServicesOptions, error) {
	all := defaults.Copy(o)
	if all.Base == nil {
		all.Base, _ = http.DefaultTransport.(*http.Transport)
	}
	switch {
	case len(all.Names) == 0 && all.Match == nil:
		return all, fmt.Errorf("oshttp: NewServices: %w: no host is a service: set Names or Match", discovery.ErrInvalid)
	case all.Router != nil && (len(all.Filters) > 0 || all.Timeout != 0):
		return all, fmt.Errorf("oshttp: NewServices: %w: Filters and Timeout beside a Router: use router.Options.Filters and Wait", discovery.ErrInvalid)
	case all.Router == nil && all.Request != nil:
		return all, fmt.Errorf("oshttp: NewServices: %w: Request without a Router: set Router", discovery.ErrInvalid)
	case all.Base == nil:
		return all, fmt.Errorf("oshttp: NewServices: %w: http.DefaultTransport is a %T: set Base", discovery.ErrInvalid, http.DefaultTransport)
	}
	for _, name := range all.Names {
		if name == "" || strings.ContainsAny(name, ":/") {
			return all, fmt.Errorf("oshttp: NewServices: %w: name %q: use the name of a service, without a port", discovery.ErrInvalid, name)
		}
	}
	return all, defaults.Fill("oshttp.ServicesOptions.Timeout", &all.Timeout, DefaultLookupTimeout)
}

// service returns the service that a request is for.
func (s *Services) service(r *http.Request) (name string, ok bool) {
	if r.URL == nil || r.URL.Scheme != "http" && r.URL.Scheme != "https" {
		return "", false
	}
	host := r.URL.Host
	switch {
	case s.names[host]:
		return host, true
	case s.opts.Match == nil || host == "" || strings.IndexByte(host, ':') >= 0:
		return "", false
	}
	return s.opts.Match(host)
}

// RoundTrip implements http.RoundTripper. For a service without a record in the registry it returns discovery.ErrNotFound. Without an
// instance it returns discovery.ErrUnavailable, and after the resolver was closed discovery.ErrClosed. For a redirect from another host to
// a service it returns discovery.ErrInvalid. A Router also returns its own errors, such as router.ErrRejected.
func (s *Services) RoundTrip(r *http.Request) (*http.Response, error) {
	res, _, err := s.roundTrip(r, sending{method: s.methods.name(cmp.Or(r.Method, http.MethodGet))})
	return res, err
}

// sending is how a request is sent to a service.
type sending struct {
	owned    bool   // the header of the request may be changed
	method   string // names the kind of request in statistics
	deadline string // the header with the time left, if the request has it
}

// reached is where a request went to.
type reached struct {
	instance *instance // the last one; nil if there is none
	arm      string    // of a split
	attempts int       // through a Router
}

// roundTrip also returns where the request went to.
func (s *Services) roundTrip(r *http.Request, how sending) (*http.Response, reached, error) {
	name, ok := s.service(r)
	if !ok {
		res, err := s.opts.Base.RoundTrip(r)
		return unmarked(res), reached{}, err
	}
	if err := s.redirected(r, name); err != nil {
		if r.Body != nil {
			_ = r.Body.Close()
		}
		return nil, reached{}, err
	}
	if s.opts.Router != nil {
		res, to, err := s.roundTripRouted(r, name, how)
		return unmarked(res), to, err
	}
	d := dispatch{route: s.route(name, r.URL.Scheme), request: r, owned: how.owned, body: payloadOf(r)}
	res, at, err := d.run()
	return unmarked(res), reached{instance: at}, err
}

// CloseIdleConnections closes the connections that are not in use, including Base's.
func (s *Services) CloseIdleConnections() {
	s.routes.Range(func(_, r any) bool {
		r.(*route).closeIdle()
		return true
	})
	s.routed.Range(func(_, p any) bool {
		p.(*pools).closeIdle()
		return true
	})
	s.opts.Base.CloseIdleConnections()
}

// routeKey identifies the instances that requests of one URL scheme to a service can go to.
type routeKey struct{ service, scheme string }

func (s *Services) route(service, scheme string) *route {
	key := routeKey{service, scheme}
	if r, ok := s.routes.Load(key); ok {
		return r.(*route)
	}
	r, _ := s.routes.LoadOrStore(key, newRoute(s, key))
	return r.(*route)
}
