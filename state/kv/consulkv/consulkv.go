// Package consulkv keeps key-value items in Consul.
//
//	client, err := api.NewClient(api.DefaultConfig())
//	…
//	store := kv.New(consulkv.New(client, nil), nil)
//
// Every write is one transaction. So is every Get, which reads from the leader (?consistent) and sees every acknowledged write. Token,
// namespace, partition and datacenter are those of the client.
//
// # TTL and leases
//
// Consul implements TTLs by sessions of 10 s to 24 h. A write with a TTL creates a session, which is one more request, and the item ends
// with it. The session ends when the item is overwritten or deleted. Every write therefore reads the item that it replaces: the token
// needs permission to read the key, and a new key takes one more transaction.
//
// Consul ends a session late, after up to twice its TTL (hashicorp/consul#1172), and a new leader restarts the count. A session belongs
// to the client's agent: if that node is removed from the catalog, its items disappear.
//
// # Listing
//
// The API has no pages. All items below the prefix are read in one response, which shows one moment and stays in memory until the listing
// ends. Do not list large prefixes.
//
// # Watch
//
// A watch is a blocking query. Each response follows a change below the prefix, and contains all items below it. The driver compares it
// with the previous one. It therefore skips states that were soon replaced (hashicorp/consul#4519), and each change costs as much as a
// listing. A watch resumes from a position only if nothing has changed since. From any other position it resyncs with the existing items.
//
// Consul 1.12 does not always wake a query when a shorter prefix is deleted recursively, such as "a/" under a watch of "a/b/" or of a key. The
// watch shows those deletions after Options.Wait.
package consulkv

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/go-os/go-os/internal/consulerr"
	"github.com/go-os/go-os/internal/defaults"
	"github.com/go-os/go-os/internal/life"
	"github.com/go-os/go-os/state/kv/driver"
)

const (
	// MaxKey is the length of the longest key, in bytes. Consul accepts longer ones, but a request contains the key three times.
	MaxKey = 1 << 10
	// DefaultMaxRequest is Consul's own default of limits.txn_max_req_len.
	DefaultMaxRequest = 512 << 10

	// DefaultWait is the default of Options.Wait.
	DefaultWait = time.Minute

	// envelope is the size of a request without its value: three keys, each byte of which may take six in JSON.
	envelope = 3*6*MaxKey + 2<<10
)

// Options configure New.
type Options struct {
	// MaxRequest is the servers' limits.txn_max_req_len, in bytes. Values are sent in base64, so a value may take three quarters of it, less
	// 15 KiB. Default: DefaultMaxRequest.
	MaxRequest int
	// Wait is how long a blocking query of a watch waits for a change before it is repeated. A connection that is silently broken is noticed
	// after Wait, a sixth of it, and ten seconds. At most 10 min. Default: DefaultWait.
	Wait time.Duration
}

func (o *Options) withDefaults() (Options, error) {
	all := defaults.Copy(o)
	err := cmp.Or(
		defaults.Fill("consulkv.Options.MaxRequest", &all.MaxRequest, DefaultMaxRequest),
		defaults.Fill("consulkv.Options.Wait", &all.Wait, DefaultWait),
	)
	all.Wait = min(all.Wait, maxWait)
	return all, err
}

// Driver implements driver.Driver. It is safe for concurrent use.
type Driver struct {
	client *api.Client
	caps   driver.Capabilities
	wait   time.Duration
	fault  error // of every call; nil unless New was given invalid arguments
	life   life.Life
}

// New returns a driver on a client.
func New(client *api.Client, opts *Options) *Driver {
	o, err := opts.withDefaults()
	return &Driver{client: client, wait: o.Wait, fault: cmp.Or(defaults.Given("consulkv: New", "client", client), err), caps: driver.Capabilities{
		System: "consul",
		Abilities: driver.CAS | driver.Expiry | driver.List | driver.Watch | driver.Leases |
			driver.Durable | driver.SnapshotList | driver.FreshReads,
		TTL: driver.TTLLimits{
			Min: 10 * time.Second, Max: 24 * time.Hour, Granularity: time.Second, Stretch: 2, MaxLateness: 5 * time.Second,
		},
		MaxKey:   MaxKey,
		MaxValue: max((o.MaxRequest-envelope)*3/4, 1),
	}}
}

// Validate implements driver.Validator.
func (d *Driver) Validate() error { return d.fault }

// Capabilities implements driver.Driver.
func (d *Driver) Capabilities() driver.Capabilities { return d.caps }

// Get implements driver.Driver. It does not return the TTL.
func (d *Driver) Get(ctx context.Context, key string) (driver.Item, error) {
	pairs, err := d.transact(ctx, &api.KVTxnOp{Verb: api.KVGet, Key: key})
	switch {
	case errors.Is(err, errAbsent):
		return driver.Item{}, driver.ErrNotFound
	case err != nil:
		return driver.Item{}, err
	}
	return item(pairs[0]), nil
}

func item(pair *api.KVPair) driver.Item {
	it := driver.Item{Key: pair.Key, Value: pair.Value, Version: driver.Version(pair.ModifyIndex)}
	if it.Value == nil {
		it.Value = []byte{}
	}
	return it
}

// Put implements driver.Driver.
//
// The key is deleted and written in one transaction. It then no longer ends with the session of its previous write, and its version
// changes even if its value does not.
func (d *Driver) Put(ctx context.Context, req driver.PutRequest) (driver.Version, error) {
	write := &api.KVTxnOp{Verb: api.KVSet, Key: req.Key, Value: req.Value}
	session := string(req.Lease)
	if req.TTL > 0 {
		own, err := d.Grant(ctx, req.TTL)
		if err != nil {
			return 0, err
		}
		session, write.Flags = string(own), ownFlag
	}
	if session != "" {
		write.Verb, write.Session = api.KVLock, session
	}
	written, err := d.replace(ctx, req, write)
	if err != nil {
		if req.TTL > 0 && refused(err) { // no other client knows the session; if this fails, it ends by itself
			_ = d.Revoke(ctx, driver.LeaseID(session))
		}
		return 0, err
	}
	return driver.Version(written.ModifyIndex), nil
}

// ownFlag is the value of KVPair.Flags of an item whose session belongs to it alone. It shows a later writer of the key, on any client, that
// no other item has the session.
const ownFlag = 0x676f_6f73_6f77_6e

// errAbsent: a key that a transaction reads does not exist.
var errAbsent = errors.New("the key does not exist")

// replace writes a key if the conditions hold, and ends the session of the replaced item. A transaction that reads a missing key fails,
// so one transaction replaces a key and another creates it.
func (d *Driver) replace(ctx context.Context, req driver.PutRequest, write *api.KVTxnOp) (*api.KVPair, error) {
	for {
		if !req.IfAbsent {
			pairs, err := d.end(ctx, req.Key, req.IfVersion, write)
			switch {
			case err == nil:
				return pairs[len(pairs)-1], nil
			case !errors.Is(err, errAbsent):
				return nil, err
			case req.IfVersion != 0:
				return nil, driver.Classify(driver.ErrConflict, err)
			}
		}
		pairs, err := d.transact(ctx, &api.KVTxnOp{Verb: api.KVCheckNotExists, Key: req.Key}, write)
		switch {
		case err == nil:
			return pairs[len(pairs)-1], nil
		case req.IfAbsent || !errors.Is(err, driver.ErrConflict):
			return nil, err
		}
	}
}

// end removes an item, and its session if that belongs to it alone. The item must have this version, or any if version is zero. The other
// operations are part of the transaction.
func (d *Driver) end(ctx context.Context, key string, version driver.Version, others ...*api.KVTxnOp) ([]*api.KVPair, error) {
	ops := api.KVTxnOps{{Verb: api.KVGet, Key: key}}
	if version != 0 {
		ops = append(ops, &api.KVTxnOp{Verb: api.KVCheckIndex, Key: key, Index: uint64(version)})
	}
	ops = append(ops, &api.KVTxnOp{Verb: api.KVDelete, Key: key})
	pairs, err := d.transact(ctx, append(ops, others...)...)
	if err != nil {
		return nil, err
	}
	if ended := pairs[0]; ended.Session != "" && ended.Flags == ownFlag { // if this fails, it ends with its TTL
		_ = d.Revoke(ctx, driver.LeaseID(ended.Session))
	}
	return pairs, nil
}

// refused reports whether an error means that a write did not take effect. After any other error it may have.
func refused(err error) bool {
	return errors.Is(err, driver.ErrConflict) || errors.Is(err, driver.ErrTooLarge) || errors.Is(err, driver.ErrNotFound)
}

// Delete implements driver.Driver.
func (d *Driver) Delete(ctx context.Context, req driver.DeleteRequest) error {
	_, err := d.end(ctx, req.Key, req.IfVersion)
	if errors.Is(err, errAbsent) {
		if req.IfVersion == 0 {
			return nil
		}
		err = driver.Classify(driver.ErrConflict, err)
	}
	return err
}

// transact runs a transaction and returns its results. If one of its operations fails, none has an effect.
func (d *Driver) transact(ctx context.Context, ops ...*api.KVTxnOp) ([]*api.KVPair, error) {
	done, resp, _, err := d.client.KV().Txn(ops, (&api.QueryOptions{RequireConsistent: true}).WithContext(ctx))
	switch {
	case err != nil:
		return nil, d.classify(ctx, err)
	case done:
		return resp.Results, nil
	case len(resp.Errors) == 0:
		return nil, fmt.Errorf("%w: Consul refused a transaction without a reason", driver.ErrUnavailable)
	}
	first := resp.Errors[0]
	class := driver.ErrConflict
	switch failed := ops[min(first.OpIndex, len(ops)-1)]; {
	case failed.Verb == api.KVGet:
		class = errAbsent
	case strings.Contains(first.What, "invalid session"):
		class = driver.ErrNotFound
	case failed.Verb == api.KVLock: // for example, because the key's last session has just ended
		class = driver.ErrUnavailable
	}
	return nil, fmt.Errorf("%w: %s", class, first.What)
}

// Ping implements driver.Pinger. It asks the agent for the leader of the cluster.
func (d *Driver) Ping(ctx context.Context) error {
	leader, err := d.client.Status().LeaderWithQueryOptions((&api.QueryOptions{}).WithContext(ctx))
	if err == nil && leader == "" {
		err = errors.New("no cluster leader")
	}
	return d.classify(ctx, err)
}

// Close implements driver.Driver. It does not change the client.
func (d *Driver) Close() error {
	d.life.End()
	return nil
}

// classify adds the class to an error of the client, which stays reachable. It returns nil for nil.
func (d *Driver) classify(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	class := consulerr.Class(err)
	switch {
	case ctx.Err() != nil:
		class = ctx.Err()
	case class == nil:
		return err // a retry cannot fix it
	case class == driver.ErrUnavailable && d.life.Err() != nil:
		class = driver.ErrClosed
	}
	return driver.Classify(class, err)
}
