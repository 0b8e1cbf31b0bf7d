// Package consuldiscovery keeps the instances of services in Consul's own catalog, where Consul's API, DNS and UI show them.
//
//	client, err := api.NewClient(api.DefaultConfig())
//	…
//	registry, err := consuldiscovery.New(client, nil)
//	registrar, err := discovery.NewRegistrar(registry, nil)
//	resolver, err := discovery.NewResolver(registry, nil)
//
// The client must use the address of one agent, preferably the agent on the same machine: an agent owns the services registered with it. A
// load balancer in front of several agents does not work. The client sets token, namespace, partition and datacenter.
//
// # Instances in Consul
//
// A service in Consul has one address, so an instance is one service for each protocol. Its tag is the protocol: DNS answers
// grpc.orders.service.consul and _orders._grpc.service.consul. The meta of each service contains the whole record, and readers see one
// instance. Consul's weight is the weight of the instance, within Consul's limits of 1 and 65535. Names that are not DNS labels, such as
// "a.b", can be registered, but DNS does not answer them.
//
// A draining or unhealthy instance has a critical check, so that DNS and readers of passing services leave it out. An operator's
// maintenance mode drains an instance, and a critical check of another program makes it unhealthy.
//
// Package dnsdiscovery reads this DNS with the Name "_{service}._grpc.service.consul" for the protocol grpc.
//
// Services registered by other programs are instances too. Their ID is "<node>/<service ID>". Their version and zone are read from the
// meta; their labels are the meta and the tags. Options.Protocol names the protocol of their address.
//
// # Leases
//
// A lease is a TTL check for each of its services, which the agent runs. A renewal is one request a service to the agent. It changes
// nothing in the check, so it writes nothing to Consul's servers. A record whose check is critical has ended: readers see it removed.
// Consul keeps the entry visible for Options.Reap.
//
// An agent accepts registrations and renewals without the servers. Register therefore reads the catalog after it has written, and returns
// ErrUnavailable until the record is there.
//
// An agent that leaves the cluster removes its services; Consul treats the services of a dead agent as unhealthy. Readers see both as
// removed: without its agent, no TTL of a service ends. With Options.Others, the registrar moves to another agent as soon as its own stops
// answering. Without, it registers again when the agent is back. Removed instances without a goodbye may be held by the readers: see
// package discovery.
//
// # What Consul cannot do
//
// Agents have no conditional writes. No condition is needed here: a service's name in Consul contains the incarnation, so a late request
// can only change the services of its own process. Of two incarnations of one ID, readers take the later start. Consul's DNS returns both,
// from the registration of the later one until it has removed the other, a few requests later. A living earlier process finds the later one
// by its watch and withdraws.
//
// A goodbye is one of the instance's services, in the state gone. It has a critical check, and ends after its own TTL. Consul shows it for a minute or
// two longer. It does not survive the orderly leave of its agent.
//
// # Requests
//
// An idle registrar sends one request a service three times a TTL to the agent, and repeats one blocking query for each instance every
// Options.Wait. A resolver repeats one for each service that it follows. Any server answers these (?stale). An answer older than the last
// one, or from a server without a leader for more than ten seconds, is discarded; the leader is queried instead. Both wait a moment between
// two answers, so that a service in constant change costs a few queries a second.
//
// # Permissions
//
// With ACLs, a token needs service:write for the services that it registers, and service:read and node:read for those that it reads. Consul
// omits the services that a token must not read. If none is left, the answer is ErrDenied, except for a client without a token: Consul
// hides the omission from it.
//
// # Telemetry
//
// The attribute goos.discovery.system is "consul", as for package kvdiscovery on Consul's key-value store. Use a separate Telemetry for
// each if a process has both.
package consuldiscovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/go-os/go-os/control/discovery/driver"
	"github.com/go-os/go-os/internal/consulerr"
	"github.com/go-os/go-os/internal/defaults"
)

// The defaults of Options.
const (
	DefaultReap     = 10 * time.Minute
	DefaultWait     = time.Minute
	DefaultProtocol = "tcp"
)

const (
	// minTTL keeps renewals distinct: an agent's files round them to whole seconds.
	minTTL = time.Second
	// minReap is the shortest time that an agent accepts.
	minReap = time.Minute
	// maxWait is Consul's limit of the wait time of a blocking query. Consul adds up to a sixteenth of the wait time.
	maxWait = 10 * time.Minute
	// answerWithin is how long a response may take after the wait time.
	answerWithin = 10 * time.Second
	// leaveWithin is how long an agent that has left the cluster may answer. By default Consul's leave_drain_time is 5 s.
	leaveWithin = 30 * time.Second
	// maxContact is how long a server may have been without a leader before its answers are discarded.
	maxContact = 10 * time.Second
)

// Options configure New.
type Options struct {
	// Others are fallback agents, such as the servers, in the order of preference. They are used if the client's agent stops answering. A
	// registrar stays where it has moved to. Default: none.
	Others []*api.Client
	// Reap is how long Consul shows a service after its lease has ended. At least one minute. Default: DefaultReap.
	Reap time.Duration
	// Wait is how long a blocking query waits for a change before it is repeated. A connection that is silently broken is noticed
	// after Wait, a sixteenth of it, and ten seconds. At most 10 min. Default: DefaultWait.
	Wait time.Duration
	// Protocol is the protocol of the address of a service registered by another program. Default: DefaultProtocol.
	Protocol string
}

func (o *Options) withDefaults() (Options, error) {
	all := defaults.Copy(o)
	all.Others = slices.Clone(all.Others)
	all.Protocol = cmp.Or(all.Protocol, DefaultProtocol)
	err := cmp.Or(
		defaults.Fill("consuldiscovery.Options.Reap", &all.Reap, DefaultReap),
		defaults.Fill("consuldiscovery.Options.Wait", &all.Wait, DefaultWait),
	)
	if err == nil && all.Reap < minReap {
		err = fmt.Errorf("%w: consuldiscovery.Options.Reap is %s: Consul takes %s at least", driver.ErrInvalid, all.Reap, minReap)
	}
	for n, other := range all.Others {
		err = cmp.Or(err, defaults.Given("consuldiscovery: New", fmt.Sprintf("client Others[%d]", n), other))
	}
	all.Wait = min(all.Wait, maxWait)
	return all, err
}

// Registry is Consul's catalog. It implements driver.Registrar, driver.Reader and driver.Lister. It is safe for concurrent use.
type Registry struct {
	clients  []*api.Client // the preferred agent first
	opts     Options
	revision atomic.Uint64 // of the last write

	mu    sync.Mutex
	homes map[*api.Client]*home // of the agents at which a registration was confirmed
}

// home is the node of an agent.
type home struct {
	node string
	left time.Time // since when the node is known not to be a member of the cluster; zero if it is
}

// New returns a registry on the client of an agent. The client stays open when the registry is closed. It returns driver.ErrInvalid without a
// client, or if an option is invalid. It does no I/O.
func New(client *api.Client, opts *Options) (*Registry, error) {
	o, err := opts.withDefaults()
	if err := cmp.Or(defaults.Given("consuldiscovery: New", "client", client), err); err != nil {
		return nil, err
	}
	r := &Registry{clients: append([]*api.Client{client}, o.Others...), opts: o, homes: map[*api.Client]*home{}}
	r.revision.Store(uint64(time.Now().UnixMilli())) // a later Registry of this process writes larger ones
	return r, nil
}

// System implements driver.Reader.
func (*Registry) System() string { return "consul" }

// Capabilities implements driver.Registrar.
func (r *Registry) Capabilities() driver.Capabilities {
	return driver.Capabilities{System: r.System(), MinTTL: minTTL, MaxRecord: MaxRecord}
}

// Close implements driver.Registrar and driver.Reader. The clients stay open.
func (*Registry) Close() error { return nil }

// Grant implements driver.Registrar. It queries the agents for the cluster's leader in order, and uses the first one that has a leader.
func (r *Registry) Grant(ctx context.Context, ttl time.Duration) (driver.Lease, error) {
	var failed error
	for _, client := range r.clients {
		sent := time.Now()
		if err := r.usable(ctx, client); err != nil {
			failed = cmp.Or(failed, err)
			continue
		}
		return &lease{registry: r, client: client, ttl: ttl, until: sent.Add(ttl), services: map[string]struct{}{}}, nil
	}
	return nil, failed
}

// usable returns nil if an agent answers, and has not left the cluster.
func (r *Registry) usable(ctx context.Context, client *api.Client) error {
	return cmp.Or(ping(ctx, client), r.member(ctx, client))
}

// settle records the node of an agent.
func (r *Registry) settle(client *api.Client, node string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.homes[client] = &home{node: node}
}

// member returns an error unless an agent is a member of the cluster, as far as that is known. An agent that is about to leave still
// accepts services, and syncs those that it has. It would restore them in the catalog after Consul removed them, and no agent would expire
// their TTLs.
func (r *Registry) member(ctx context.Context, client *api.Client) error {
	r.mu.Lock()
	h := r.homes[client]
	r.mu.Unlock()
	if h == nil {
		return nil
	}
	checks, _, err := client.Health().Node(h.node, (&api.QueryOptions{RequireConsistent: true}).WithContext(ctx))
	if err != nil {
		return classify(ctx, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case !agentLost(checks):
		h.left = time.Time{}
		return nil
	case h.left.IsZero():
		h.left = time.Now()
	case time.Since(h.left) > leaveWithin: // it is another agent, at the same address
		delete(r.homes, client)
		return nil
	}
	return fmt.Errorf("%w: the agent on node %q is not a member of the cluster", driver.ErrUnavailable, h.node)
}

// ping returns nil if the agent answers and has a leader.
func ping(ctx context.Context, client *api.Client) error {
	leader, err := client.Status().LeaderWithQueryOptions((&api.QueryOptions{}).WithContext(ctx))
	if err == nil && leader == "" {
		err = errors.New("no cluster leader")
	}
	return classify(ctx, err)
}

// Services implements driver.Lister. It leaves out "consul", which Consul's servers provide. A service is listed until Consul has removed
// its last entry, Options.Reap after the end of the lease.
func (r *Registry) Services(ctx context.Context) ([]string, error) {
	found, meta, err := r.clients[0].Catalog().Services((&api.QueryOptions{}).WithContext(ctx))
	if err != nil {
		return nil, classify(ctx, err)
	}
	var all []string
	for name := range found {
		if name != "consul" {
			all = append(all, name)
		}
	}
	if len(all) == 0 && meta.ResultsFilteredByACLs {
		return nil, fmt.Errorf("%w: the token needs service:read", driver.ErrDenied)
	}
	slices.Sort(all)
	return all, nil
}

// list returns the entries of a service that a filter of Consul accepts. The empty filter accepts all.
func (r *Registry) list(client *api.Client, service string, q *api.QueryOptions) ([]*api.ServiceEntry, *api.QueryMeta, error) {
	found, meta, err := client.Health().Service(service, "", false, q)
	if err != nil {
		return nil, nil, classify(q.Context(), err)
	}
	if len(found) == 0 && meta.ResultsFilteredByACLs {
		return nil, nil, fmt.Errorf("%w: the token needs service:read on %q, and node:read", driver.ErrDenied, service)
	}
	// Consul ignores the case of names.
	return slices.DeleteFunc(found, func(e *api.ServiceEntry) bool { return e.Service.Service != service }), meta, nil
}

// instance is the filter for the entries of an ID.
func instance(id string) string { return fmt.Sprintf("Service.Meta.%s == %q", metaID, id) }

// classify adds the class to an error of the client, which stays reachable. It returns nil for nil.
func classify(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	class := consulerr.Class(err)
	if ctx.Err() != nil {
		class = ctx.Err()
	}
	if class == nil {
		return err // a retry cannot fix it
	}
	return driver.Classify(class, err)
}

// refused reports whether err is an answer of Consul that contains this text, ignoring case. The status is not enough, since a proxy in
// front of Consul may also answer 404 or 500.
func refused(err error, text string) bool {
	var status api.StatusError
	return errors.As(err, &status) && strings.Contains(strings.ToLower(status.Body), text)
}
