// Package consulsync is a driver of state/sync for Consul.
//
//	client, err := api.NewClient(api.DefaultConfig())
//	…
//	session := sync.New(consulsync.New(client, nil), nil)
//
// A lease is a session. A claim is a key below the name's prefix. The session has locked the key, and Consul deletes the key when the
// session ends. The claim's token is the index that created the key (CreateIndex), which orders claims as Consul received them. A lock
// without contention is one transaction, and so is its release. Token, namespace, partition and datacenter are those of the client.
//
// Guarantees:
//   - Linearizable: transactions and consistent reads, which the leader confirms with the other servers, decide which claim has a seat.
//   - A waiter for a lock waits for a change of the claim right before its own, for any number of waiters. A read returns the whole queue, since
//     Consul cannot return a part; the waiters of one Driver share it. The waiters of a semaphore all wake at each change of it.
//   - A waiter and an observer each have one blocking query at Consul, and repeat it every Options.Wait. By default Consul accepts 200
//     connections from one address (limits.http_max_conns_per_client). A process with more waiters needs a higher limit.
//
// # The node of the sessions
//
// A Consul session belongs to a node of the catalog, and ends at once when that node is deregistered. By default this is the node of the
// client's agent. The agent deregisters it on a graceful stop (leave_on_terminate, on by default except on servers). Other processes
// would then get the locks while their holders still run. The driver therefore creates its sessions on Options.Node, a node without an
// agent. It registers the node, without checks, if it is not in the catalog.
//
// Do not deregister this node while locks are held: all of them end at once, before their holders know. Exempt it from jobs that remove
// nodes without an agent from the catalog. Tokens still protect a sync.Fence.
//
// With ACLs, the client's token needs key:write on Options.Prefix and session:write on Options.Node. It also needs node:write on Options.Node
// unless the node is already registered.
//
// # Time
//
// Consul accepts TTLs of 10 s to 24 h. It ends sessions late, after up to twice their TTL (hashicorp/consul#1172), and restarts the count
// when its leader changes. The driver does not use Consul's lock delay, since the context of a grant ends before the session does.
package consulsync

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/go-os/go-os/internal/consulerr"
	"github.com/go-os/go-os/internal/defaults"
	"github.com/go-os/go-os/internal/life"
	"github.com/go-os/go-os/state/sync/driver"
)

const (
	// DefaultPrefix is the default of Options.Prefix.
	DefaultPrefix = "goos/sync/"
	// DefaultNode is the default of Options.Node.
	DefaultNode = "goos-sync"
	// DefaultWait is the default of Options.Wait.
	DefaultWait = time.Minute
	// MaxName is the length of the longest name, in bytes. In a key, a byte that is not a letter or a digit takes three.
	MaxName = 1 << 10
	// MaxValue is the length of the longest value, in bytes.
	MaxValue = 64 << 10

	// maxWait is Consul's limit of the wait time of a blocking query. Consul adds up to a sixteenth of the wait time.
	maxWait = 10 * time.Minute
	// answerWithin is how long a response may take after the wait time.
	answerWithin = 10 * time.Second
	// lockDelay is as short as possible. Zero would mean Consul's default of 15 s.
	lockDelay = time.Millisecond
)

// Options configure New.
type Options struct {
	// Prefix of all keys: printable ASCII, without a leading slash or two consecutive slashes. Processes that share locks must use the
	// same prefix. Default: DefaultPrefix.
	Prefix string
	// Node is the catalog node of the sessions; see the package comment. Default: DefaultNode.
	Node string
	// Wait is how long a blocking query waits for a change before it is repeated. A connection that is silently broken is noticed
	// after Wait, a sixth of it, and ten seconds. At most 10 min. Default: DefaultWait.
	Wait time.Duration
}

func (o *Options) withDefaults() (Options, error) {
	all := defaults.Copy(o)
	all.Prefix, all.Node = cmp.Or(all.Prefix, DefaultPrefix), cmp.Or(all.Node, DefaultNode)
	err := defaults.Fill("consulsync.Options.Wait", &all.Wait, DefaultWait)
	all.Wait = min(all.Wait, maxWait)
	return all, err
}

// Driver implements driver.Driver. It is safe for concurrent use.
type Driver struct {
	client *api.Client
	prefix string
	node   string
	wait   time.Duration
	fault  error // of every call; nil unless New was given invalid arguments
	life   life.Life
	reads  reads
}

// New returns a driver on a client.
func New(client *api.Client, opts *Options) *Driver {
	o, err := opts.withDefaults()
	return &Driver{
		client: client, prefix: o.Prefix, node: o.Node, wait: o.Wait, fault: cmp.Or(defaults.Given("consulsync: New", "client", client), err),
	}
}

// Validate implements driver.Validator.
func (d *Driver) Validate() error { return d.fault }

// Capabilities implements driver.Driver.
func (*Driver) Capabilities() driver.Capabilities {
	return driver.Capabilities{
		System: "consul", Safety: driver.Linearizable, Ordered: true, MaxName: MaxName, MaxValue: MaxValue,
		Lease: driver.LeaseLimits{
			Min: 10 * time.Second, Max: 24 * time.Hour, Granularity: time.Second, Stretch: 2, MaxLateness: 5 * time.Second,
		},
	}
}

// Close implements driver.Driver. It does not change the client.
func (d *Driver) Close() error {
	d.life.End()
	return nil
}

// Grant implements driver.Leaser. It registers the node of the sessions if it is not in the catalog.
func (d *Driver) Grant(ctx context.Context, ttl time.Duration) (driver.LeaseID, error) {
	id, err := d.create(ctx, ttl)
	if refused(err, "missing node registration") {
		if err := d.register(ctx); err != nil {
			return "", err
		}
		id, err = d.create(ctx, ttl)
	}
	if err != nil {
		return "", d.lacks(ctx, "session:write", err)
	}
	return driver.LeaseID(id), nil
}

// create creates a session. It has no health checks, which could end it early.
func (d *Driver) create(ctx context.Context, ttl time.Duration) (string, error) {
	id, _, err := d.client.Session().CreateNoChecks(&api.SessionEntry{
		Node: d.node, TTL: ttl.String(), Behavior: api.SessionBehaviorDelete, LockDelay: lockDelay,
	}, (&api.WriteOptions{}).WithContext(ctx))
	return id, err
}

// register adds the node to the catalog. The address is required but not used.
func (d *Driver) register(ctx context.Context) error {
	_, err := d.client.Catalog().Register(&api.CatalogRegistration{
		Node: d.node, Address: "127.0.0.1", NodeMeta: map[string]string{"owner": "goos-sync"},
	}, (&api.WriteOptions{}).WithContext(ctx))
	if err != nil {
		return d.lacks(ctx, "node:write", err)
	}
	return nil
}

// lacks classifies an error as classify does, and names the permission if Consul refuses the token.
func (d *Driver) lacks(ctx context.Context, permission string, err error) error {
	if consulerr.Class(err) == driver.ErrDenied {
		err = fmt.Errorf("the token needs %s on the node %q: %w", permission, d.node, err)
	}
	return d.classify(ctx, err)
}

// Renew implements driver.Leaser. The session has locked the claims, so renewing it renews them. A read finds claims that were removed.
func (d *Driver) Renew(ctx context.Context, id driver.LeaseID, claims []driver.Claim) (missing []driver.Claim, err error) {
	var renewed []*api.SessionEntry
	// Session().Renew treats any 404 as the end of the session, even a proxy's.
	_, err = d.client.Raw().Write("/v1/session/renew/"+url.PathEscape(string(id)), nil, &renewed, (&api.WriteOptions{}).WithContext(ctx))
	switch {
	case gone(err):
		return nil, driver.ErrLost
	case err != nil:
		return nil, d.classify(ctx, err)
	case len(renewed) != 1 || renewed[0].ID != string(id):
		return nil, fmt.Errorf("%w: the response does not contain the session that was renewed", driver.ErrUnavailable)
	}
	for some := range slices.Chunk(claims, maxOps) {
		found, err := d.missing(ctx, some)
		if err != nil {
			return nil, err
		}
		missing = append(missing, found...)
	}
	return missing, nil
}

// maxOps is the number of operations that Consul accepts in a transaction.
const maxOps = 64

// missing returns the claims whose keys do not exist, or belong to other claims. A claim's key never changes, so its index is its
// CreateIndex.
func (d *Driver) missing(ctx context.Context, claims []driver.Claim) (missing []driver.Claim, err error) {
	ops := make(api.KVTxnOps, len(claims))
	for i, c := range claims {
		ops[i] = &api.KVTxnOp{Verb: api.KVCheckIndex, Key: d.key(c), Index: uint64(c.Token)}
	}
	held, resp, _, err := d.client.KV().Txn(ops, (&api.QueryOptions{RequireConsistent: true}).WithContext(ctx))
	switch {
	case err != nil:
		return nil, d.classify(ctx, err)
	case held:
		return nil, nil
	}
	for _, refused := range resp.Errors {
		if refused.OpIndex < 0 || refused.OpIndex >= len(claims) {
			return nil, fmt.Errorf("%w: Consul refused a transaction: %v", driver.ErrUnavailable, resp.Errors)
		}
		missing = append(missing, claims[refused.OpIndex])
	}
	return missing, nil
}

// gone reports whether err is one of Consul's two answers that a session does not exist.
func gone(err error) bool {
	return refused(err, "invalid session") || refused(err, "session id '")
}

// refused reports whether err is an answer of Consul that contains this text, ignoring case. The status is not enough, since a proxy in
// front of Consul may also answer 404 or 500.
func refused(err error, text string) bool {
	var status api.StatusError
	return errors.As(err, &status) && strings.Contains(strings.ToLower(status.Body), text)
}

// Revoke implements driver.Leaser.
func (d *Driver) Revoke(ctx context.Context, id driver.LeaseID) error {
	_, err := d.client.Session().Destroy(string(id), (&api.WriteOptions{}).WithContext(ctx))
	if gone(err) {
		return nil
	}
	return d.classify(ctx, err)
}

// queue returns the prefix of a name's claims. It escapes characters that net/http, the client or Consul would change or refuse.
func (d *Driver) queue(name string) string {
	var b strings.Builder
	b.WriteString(d.prefix)
	for _, c := range []byte(name) {
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "=%02x", c)
		}
	}
	b.WriteByte('/')
	return b.String()
}

func (d *Driver) key(c driver.Claim) string { return d.queue(c.Name) + c.ID }

// tombstone returns the key that keeps a withdrawn claim from being created. No queue has such a prefix, since two digits follow each "=" in a
// name.
func (d *Driver) tombstone(c driver.Claim) string {
	return d.prefix + "=/" + strings.TrimPrefix(d.key(c), d.prefix)
}

// classify adds the class to an error of the client, which stays reachable. It returns nil for nil.
func (d *Driver) classify(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	class := d.life.Cause(ctx)
	if class == nil {
		class = consulerr.Class(err)
	}
	if class == nil {
		return err // a retry cannot fix it
	}
	return driver.Classify(class, err)
}
