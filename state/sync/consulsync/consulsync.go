// Package consulsync is a driver of state/sync for Consul.
//
//	client, err := api.NewClient(api.DefaultConfig())
//	…
//	session := sync.New(consulsync.New(client, nil), nil)
//
// A lease is a session. A claim is a key of its own, below the name's prefix, which the session has locked and which is deleted when the
// session ends. Its token is the index that created the key (CreateIndex), which orders claims as Consul got them. A lock
// without contention is one transaction, and so is its release. Token, namespace, partition and datacenter are those of the client.
//
// Guarantees:
//   - Linearizable: transactions and consistent reads, for which the leader asks the other servers, decide who holds a seat.
//   - A waiter for a lock waits for a change of the claim right before its own, however many wait. A read returns the whole queue, since
//     Consul cannot return a part; the waiters of one Driver share it. The waiters of a semaphore all wake with each change of it.
//   - A waiter and an observer each keep one request at Consul, and make it again every Options.Wait. By default Consul takes 200
//     connections from one address (limits.http_max_conns_per_client): more waiters than that in one process need more.
//
// # The node of the sessions
//
// A Consul session belongs to a node of the catalog, and ends at once when that node is deregistered. By default this is the node of the
// client's agent, which deregisters it when it stops in an orderly way (leave_on_terminate, on by default except on
// servers): others would get the locks while their holders still run. So the driver creates its sessions on a node of its own, Options.Node,
// which no agent runs. It registers that node, without checks, when Consul does not know it.
//
// Nobody may deregister this node while locks are held: that ends all of them at once, before their holders know. Exempt it from jobs
// that clean the catalog of nodes without an agent. Tokens protect a sync.Fence even then.
//
// With ACLs, the client's token needs key:write on Options.Prefix, session:write on Options.Node, and node:write on Options.Node unless
// somebody else has registered it.
//
// # Time
//
// Consul takes TTLs of 10 s to 24 h, ends sessions late, at up to twice their TTL (hashicorp/consul#1172), and counts from the start again when
// its leader changes. Its lock delay, which guards a key from its next holder, is not used: a grant's context has ended before.
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

	"github.com/go-os/go-os/internal/life"
	"github.com/go-os/go-os/state/internal/consulerr"
	"github.com/go-os/go-os/state/internal/options"
	"github.com/go-os/go-os/state/sync/driver"
)

const (
	// DefaultPrefix is what all keys begin with.
	DefaultPrefix = "goos/sync/"
	// DefaultNode is the default of Options.Node.
	DefaultNode = "goos-sync"
	// DefaultWait is the default of Options.Wait.
	DefaultWait = time.Minute
	// MaxName is the length of the longest name, in bytes. In a key, each byte that is no letter or digit takes three.
	MaxName = 1 << 10
	// MaxValue is the length of the longest value, in bytes.
	MaxValue = 64 << 10

	// maxWait is Consul's own limit of a blocking query, to whose time it adds up to a sixteenth.
	maxWait = 10 * time.Minute
	// answerWithin is how long an answer may take beyond that.
	answerWithin = 10 * time.Second
	// lockDelay is the shortest: zero would mean Consul's default of 15 s.
	lockDelay = time.Millisecond
)

// Options configure New.
type Options struct {
	// Prefix is what all keys begin with: printable ASCII, without a slash at its beginning or two in a row. Processes that share locks
	// agree on it. Default: DefaultPrefix.
	Prefix string
	// Node is the node of the catalog on which the sessions are created; see the package comment. Default: DefaultNode.
	Node string
	// Wait is how long one blocking query waits before it is made again. A connection that died in silence is noticed a sixth
	// later, and ten seconds. At most 10 min. Default: DefaultWait.
	Wait time.Duration
}

func (o *Options) withDefaults() (Options, error) {
	all := options.Copy(o)
	all.Prefix, all.Node = cmp.Or(all.Prefix, DefaultPrefix), cmp.Or(all.Node, DefaultNode)
	err := options.Default("consulsync.Options.Wait", &all.Wait, DefaultWait)
	all.Wait = min(all.Wait, maxWait)
	return all, err
}

// Driver is the driver. It is safe for concurrent use.
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
		client: client, prefix: o.Prefix, node: o.Node, wait: o.Wait, fault: cmp.Or(options.Given("consulsync: New", "client", client), err),
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

// Close implements driver.Driver. The client stays as it is.
func (d *Driver) Close() error {
	d.life.End()
	return nil
}

// Grant implements driver.Leaser. It registers the node of the sessions if Consul does not know it.
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

// create makes a session. No health check ends it early.
func (d *Driver) create(ctx context.Context, ttl time.Duration) (string, error) {
	id, _, err := d.client.Session().CreateNoChecks(&api.SessionEntry{
		Node: d.node, TTL: ttl.String(), Behavior: api.SessionBehaviorDelete, LockDelay: lockDelay,
	}, (&api.WriteOptions{}).WithContext(ctx))
	return id, err
}

// register adds the node to the catalog. The address is required, and leads nowhere: nothing runs there.
func (d *Driver) register(ctx context.Context) error {
	_, err := d.client.Catalog().Register(&api.CatalogRegistration{
		Node: d.node, Address: "127.0.0.1", NodeMeta: map[string]string{"owner": "goos-sync"},
	}, (&api.WriteOptions{}).WithContext(ctx))
	if err != nil {
		return d.lacks(ctx, "node:write", err)
	}
	return nil
}

// lacks is classify. It also names the permission if Consul refuses a token.
func (d *Driver) lacks(ctx context.Context, permission string, err error) error {
	if consulerr.Class(err) == driver.ErrDenied {
		err = fmt.Errorf("the token needs %s on the node %q: %w", permission, d.node, err)
	}
	return d.classify(ctx, err)
}

// Renew implements driver.Leaser. The claims are locked by the session, so renewing it renews them. A read finds those that were removed.
func (d *Driver) Renew(ctx context.Context, id driver.LeaseID, claims []driver.Claim) (missing []driver.Claim, err error) {
	var renewed []*api.SessionEntry
	// Session().Renew takes any 404 for the end of the session, such as that of a proxy.
	_, err = d.client.Raw().Write("/v1/session/renew/"+url.PathEscape(string(id)), nil, &renewed, (&api.WriteOptions{}).WithContext(ctx))
	switch {
	case gone(err):
		return nil, driver.ErrLost
	case err != nil:
		return nil, d.classify(ctx, err)
	case len(renewed) != 1 || renewed[0].ID != string(id):
		return nil, fmt.Errorf("%w: the answer does not show the session that was renewed", driver.ErrUnavailable)
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

// maxOps is how many operations Consul takes in a transaction.
const maxOps = 64

// missing returns those claims whose keys are gone, or are those of others. A claim's key never changes, so its index is that of its making.
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

// gone reports whether Consul itself says that it has no such session, which it does in two ways.
func gone(err error) bool {
	return refused(err, "invalid session") || refused(err, "session id '")
}

// refused reports whether err is an answer of Consul with this text, in any case of letters. The status alone says little: a proxy in front
// of Consul has a 404 and a 500 of its own.
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

// queue is the prefix of a name's claims. What net/http, the client and Consul would change in a path or refuse is escaped.
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

// tombstone is the key that keeps a withdrawn claim from being made. No queue has such a prefix: after "=", a name has two digits.
func (d *Driver) tombstone(c driver.Claim) string {
	return d.prefix + "=/" + strings.TrimPrefix(d.key(c), d.prefix)
}

// classify gives an error of the client its class; the client's own stays reachable. No error has none.
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
