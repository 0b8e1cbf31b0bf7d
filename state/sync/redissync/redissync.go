// Package redissync is a driver of state/sync for Redis, or a server that speaks its protocol, such as Valkey: one server, or a cluster.
//
//	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{"127.0.0.1:6379"}})
//	…
//	session := sync.New(redissync.New(client, nil), nil)
//
// # Safety
//
// The class is BestEffort. As long as one server runs and keeps its data, no other process gets a seat that is held. Replication is
// asynchronous: a fail-over, or a restart without "appendonly yes" and "appendfsync always", may lose a claim that was granted, and
// grant its seat again. The driver does not use Redlock, which also depends on the clocks of its servers and has no growing token.
//
// Tokens still increase in these cases, as long as the servers' clocks do: a token is the server's time in microseconds, or one more than
// the last token if that is larger. A [sync.Fence] is therefore safer than the lock. Work that must be safe needs a Fence or another
// engine.
//
// Leases use the server's wall clock. If it is set back, claims last longer by no more than the time since the last renewal. If it is set
// forward by more than sync.Options.Margin, seats may be handed over before their holders know. A holder detects it within a TTL.
//
// # How it works
//
// The claims of a name are a sorted set in the order of their tokens. The set, the values and the expiry times are in one slot of a
// cluster. Every step is an atomic script that uses the server's time. A lease is a key with a TTL. Each claim has its own expiry time,
// since the lease may be in another slot. A renewal is one command for the lease and one for each name with claims, sent together. It
// succeeds only if all do.
//
// A claim whose acquisition has an unknown outcome is not renewed, but withdrawn. A tombstone in its name's slot, which lasts for an
// hour, prevents a late request from creating it. A request that arrives after its lease has ended may still create a claim, since the
// lease may be in another slot. That claim ends after one TTL.
//
// A message notifies a waiter when the claim right before its own is removed. The waiter also checks when that claim should have ended, and every
// Options.Poll, since messages are lost while the connection is down. For a semaphore, each removal of a claim wakes all waiters. After the
// first wait or observation, the driver has one more connection, on which it listens until it is closed.
package redissync

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/go-os/go-os/internal/defaults"
	"github.com/go-os/go-os/internal/life"
	"github.com/go-os/go-os/state/internal/rediserr"
	"github.com/go-os/go-os/state/sync/driver"
	"github.com/go-os/go-os/state/sync/internal/notify"
)

const (
	// DefaultPrefix is the default of Options.Prefix.
	DefaultPrefix = "goos:sync:"
	// DefaultPoll is the default of Options.Poll.
	DefaultPoll = 5 * time.Second
	// MaxName is the length of the longest name, in bytes.
	MaxName = 4 << 10
	// MaxValue is the length of the longest value, in bytes.
	MaxValue = 64 << 10
)

// Options configure New.
type Options struct {
	// Prefix of all keys and of the channel for messages. Processes that share locks must use the same prefix. Braces in it are a hash
	// tag, which puts all locks on one node of a Redis Cluster. Default: DefaultPrefix.
	Prefix string
	// Poll is the interval at which a waiter or an observer checks for a missed message. Default: DefaultPoll.
	Poll time.Duration
}

func (o *Options) withDefaults() (Options, error) {
	all := defaults.Copy(o)
	all.Prefix = cmp.Or(all.Prefix, DefaultPrefix)
	return all, defaults.Fill("redissync.Options.Poll", &all.Poll, DefaultPoll)
}

// Driver implements driver.Driver. It is safe for concurrent use.
type Driver struct {
	client rueidis.Client
	prefix string
	poll   time.Duration
	hub    *notify.Hub
	fault  error // of every call; nil unless New was given invalid arguments
	life   life.Life
}

// New returns a driver on a client, which it does not close.
func New(client rueidis.Client, opts *Options) *Driver {
	o, err := opts.withDefaults()
	d := &Driver{
		client: client, prefix: o.Prefix, poll: o.Poll, fault: cmp.Or(defaults.Given("redissync: New", "client", client), err),
	}
	d.hub = notify.New(&d.life, d.listen)
	return d
}

// Validate implements driver.Validator.
func (d *Driver) Validate() error { return d.fault }

// Capabilities implements driver.Driver.
func (*Driver) Capabilities() driver.Capabilities {
	return driver.Capabilities{
		System: "redis", Safety: driver.BestEffort, Ordered: true, MaxName: MaxName, MaxValue: MaxValue,
		Lease: driver.LeaseLimits{
			Min: 100 * time.Millisecond, Max: 365 * 24 * time.Hour, Granularity: time.Millisecond,
			Stretch: 2, MaxLateness: time.Second, // a claim created shortly before its lease ends lasts for a whole TTL
		},
	}
}

// Close implements driver.Driver. The client stays open.
func (d *Driver) Close() error {
	d.life.End()
	d.hub.Wait()
	return nil
}

// Grant implements driver.Leaser.
func (d *Driver) Grant(ctx context.Context, ttl time.Duration) (driver.LeaseID, error) {
	id := driver.LeaseID(rand.Text() + "-" + millis(ttl))
	set := request{command: d.client.B().Set().Key(d.leaseKey(id)).Value("1").PxMilliseconds(ttl.Milliseconds()).Build()}
	if err := d.do(ctx, set).Error(); err != nil {
		return "", d.classify(ctx, err)
	}
	return id, nil
}

// ttlOf returns the TTL of a lease, which is the end of its ID.
func ttlOf(id driver.LeaseID) (time.Duration, error) {
	_, text, _ := strings.Cut(string(id), "-")
	ms, err := strconv.ParseInt(text, 10, 64)
	if err != nil || ms <= 0 {
		return 0, fmt.Errorf("%w: %q is no lease of redissync", driver.ErrInvalid, id)
	}
	return time.Duration(ms) * time.Millisecond, nil
}

// Renew implements driver.Leaser. The commands for the lease and for the claims on each name are sent together.
func (d *Driver) Renew(ctx context.Context, id driver.LeaseID, claims []driver.Claim) (gone []driver.Claim, err error) {
	ttl, err := ttlOf(id)
	if err != nil {
		return nil, err
	}
	commands := []request{
		{command: d.client.B().Pexpire().Key(d.leaseKey(id)).Milliseconds(ttl.Milliseconds()).Build()},
		{command: d.client.B().Pexpire().Key(d.membersKey(id)).Milliseconds(2 * ttl.Milliseconds()).Build()},
	}
	queues := byName(claims)
	for _, of := range queues {
		args := []string{millis(ttl)}
		for _, c := range of {
			args = append(args, c.ID, number(c.Token))
		}
		commands = append(commands, d.script(renewScript, of[0].Name, args...))
	}
	answers := d.doMulti(ctx, commands...)
	for _, answer := range answers {
		if err := answer.Error(); err != nil {
			return nil, d.classify(ctx, err)
		}
	}
	if found, _ := answers[0].AsInt64(); found == 0 {
		return nil, driver.ErrLost
	}
	for i, of := range queues {
		places, err := answers[i+2].AsIntSlice()
		if err != nil {
			return nil, fmt.Errorf("decode the answer to a renewal: %w", err)
		}
		for _, at := range places {
			gone = append(gone, of[at])
		}
	}
	return gone, nil
}

// byName groups claims by name.
func byName(claims []driver.Claim) [][]driver.Claim {
	names := map[string][]driver.Claim{}
	for _, c := range claims {
		names[c.Name] = append(names[c.Name], c)
	}
	return slices.Collect(maps.Values(names))
}

// Revoke implements driver.Leaser. It also ends leases of other processes.
func (d *Driver) Revoke(ctx context.Context, id driver.LeaseID) error {
	answers := d.doMulti(ctx,
		request{command: d.client.B().Del().Key(d.leaseKey(id)).Build()},
		request{command: d.client.B().Smembers().Key(d.membersKey(id)).Build().Pin()})
	if err := answers[0].Error(); err != nil {
		return d.classify(ctx, err)
	}
	members, err := answers[1].AsStrSlice()
	if err != nil {
		return d.classify(ctx, err)
	}
	commands := []request{{command: d.client.B().Del().Key(d.membersKey(id)).Build()}}
	for _, member := range members {
		claim, name, _ := strings.Cut(member, " ")
		commands = append(commands, d.claimScript(releaseScript, name, claim, anyToken))
	}
	for _, answer := range d.doMulti(ctx, commands...) {
		if err := answer.Error(); err != nil {
			return d.classify(ctx, err)
		}
	}
	return nil
}

func (d *Driver) leaseKey(id driver.LeaseID) string { return d.prefix + "{lease:" + string(id) + "}" }

// membersKey returns the key of the set of a lease's claims, which Revoke needs.
func (d *Driver) membersKey(id driver.LeaseID) string { return d.leaseKey(id) + ":claims" }

// member returns a claim as a member of that set.
func member(c driver.Claim) string { return c.ID + " " + c.Name }

// classify adds the class to an error of the client, which stays reachable.
func (d *Driver) classify(ctx context.Context, err error) error {
	class := d.life.Cause(ctx)
	if class == nil {
		class = rediserr.Class(err)
	}
	if class == nil {
		return err // a retry cannot fix it
	}
	return driver.Classify(class, err)
}
