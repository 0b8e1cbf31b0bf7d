package etcdsync

import (
	"context"
	"fmt"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/go-os/go-os/state/sync/driver"
)

// What a claim's value begins with. It is marked when the claim of a semaphore gets its seat after waiting, so that the waiter behind
// sees that it is now the first; of locks and elections it never is, since there the holder's key goes.
const (
	waits  = "w"
	seated = "s"
)

// Acquire implements driver.Queue, in one transaction.
func (d *Driver) Acquire(ctx context.Context, c driver.Claim, try bool) (driver.Token, bool, error) {
	lease, err := parse(c.Lease)
	if err != nil {
		return 0, false, err
	}
	put := clientv3.OpPut(d.key(c), waits+string(c.Value), clientv3.WithLease(lease))
	absent := clientv3.Compare(clientv3.CreateRevision(d.key(c)), "=", 0)
	if try && c.Seats == 1 { // of no key at all, etcd compares a revision of zero
		absent = clientv3.Compare(clientv3.CreateRevision(d.queue(c.Name)), "=", 0).WithPrefix()
	}
	resp, err := d.client.Txn(ctx).If(absent).Then(put, d.first(c)).Commit()
	switch {
	case err != nil:
		return 0, false, d.classify(ctx, err)
	case !resp.Succeeded && try && c.Seats == 1:
		return 0, false, d.refused(ctx, lease)
	case !resp.Succeeded:
		return 0, false, fmt.Errorf("%w: a claim of this ID is there", driver.ErrUnavailable)
	}
	c.Token = driver.Token(resp.Header.Revision)
	granted := hasSeat(resp.Responses[1].GetResponseRange().Kvs, c)
	if try && !granted {
		if err := d.Release(ctx, c); err != nil {
			return 0, false, err
		}
		return 0, false, driver.ErrHeld
	}
	return c.Token, granted, nil
}

// refused tells a lock that is held from a lease that is over, about which a transaction that puts nothing does not speak.
func (d *Driver) refused(ctx context.Context, lease clientv3.LeaseID) error {
	resp, err := d.client.TimeToLive(ctx, lease)
	switch {
	case err != nil:
		return d.classify(ctx, err)
	case resp.TTL <= 0:
		return driver.ErrLost
	default:
		return driver.ErrHeld
	}
}

// first reads the keys of those who hold a seat, and of who is next.
func (d *Driver) first(c driver.Claim) clientv3.Op {
	return clientv3.OpGet(d.queue(c.Name), clientv3.WithPrefix(), clientv3.WithKeysOnly(), clientv3.WithLimit(int64(c.Seats)+1),
		clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortAscend))
}

// place returns the index of a claim among the first of its queue, -1 if it is not one of them.
func place(first []*mvccpb.KeyValue, c driver.Claim) int {
	for i, kv := range first {
		if driver.Token(kv.CreateRevision) == c.Token {
			return i
		}
	}
	return -1
}

func hasSeat(first []*mvccpb.KeyValue, c driver.Claim) bool {
	at := place(first, c)
	return at >= 0 && at < c.Seats
}

// Await implements driver.Queue. Each turn reads, decides by what it has read alone, and waits for a change of that.
func (d *Driver) Await(ctx context.Context, c driver.Claim) error {
	ctx, cancel := d.life.Within(ctx)
	defer cancel()
	for {
		s, err := d.look(ctx, c)
		if err != nil {
			return err
		}
		if !s.mine {
			return driver.ErrLost
		}
		if s.at >= 0 && s.at < c.Seats {
			return d.sit(ctx, c)
		}
		if err := d.change(ctx, c, s); err != nil {
			return err
		}
	}
}

// sight is a moment of a queue.
type sight struct {
	revision int64
	mine     bool   // the claim is there
	at       int    // among the first; -1 if it is further behind
	before   string // the key of the claim right before it
}

// look reads a queue at one revision.
func (d *Driver) look(ctx context.Context, c driver.Claim) (s sight, err error) {
	mine := clientv3.OpGet(d.key(c), clientv3.WithKeysOnly())
	before := clientv3.OpGet(d.queue(c.Name), append(clientv3.WithLastCreate(), clientv3.WithKeysOnly(),
		clientv3.WithMaxCreateRev(int64(c.Token)-1))...)
	resp, err := d.client.Txn(ctx).Then(mine, d.first(c), before).Commit()
	if err != nil {
		return s, d.classify(ctx, err)
	}
	s.revision = resp.Header.Revision
	own := resp.Responses[0].GetResponseRange().Kvs
	s.mine = len(own) == 1 && driver.Token(own[0].CreateRevision) == c.Token
	s.at = place(resp.Responses[1].GetResponseRange().Kvs, c)
	if previous := resp.Responses[2].GetResponseRange().Kvs; len(previous) == 1 {
		s.before = string(previous[0].Key)
	}
	return s, nil
}

// sit marks the claim of a semaphore. If its key has gone meanwhile, the seat has, too.
func (d *Driver) sit(ctx context.Context, c driver.Claim) error {
	if c.Seats == 1 {
		return nil
	}
	key := d.key(c)
	resp, err := d.client.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(key), "=", int64(c.Token))).
		Then(clientv3.OpPut(key, seated+string(c.Value), clientv3.WithIgnoreLease())).Commit()
	switch {
	case err != nil:
		return d.classify(ctx, err)
	case !resp.Succeeded:
		return driver.ErrLost
	default:
		return nil
	}
}

// change waits until what keeps a claim from its seat may be gone. It returns nil also when it cannot tell.
func (d *Driver) change(ctx context.Context, c driver.Claim, s sight) error {
	key, opts := s.before, []clientv3.OpOption{clientv3.WithRev(s.revision + 1)}
	switch {
	case s.at == c.Seats && c.Seats > 1: // next: any of those who hold a seat may leave
		key, opts = d.queue(c.Name), append(opts, clientv3.WithPrefix(), clientv3.WithFilterPut())
	case c.Seats == 1:
		opts = append(opts, clientv3.WithFilterPut())
	}
	if key == "" {
		return nil // who was before it went between two reads of a transaction: it cannot be, and costs one more turn
	}
	return d.event(ctx, key, opts...)
}

// event waits for the first event of a watch, which must exist no longer than that: hence its own context.
func (d *Driver) event(ctx context.Context, key string, opts ...clientv3.OpOption) error {
	watching, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	for resp := range d.client.Watch(watching, key, opts...) {
		switch err := resp.Err(); {
		case resp.CompactRevision > 0:
			return nil
		case err != nil:
			return d.classify(ctx, err)
		case len(resp.Events) > 0:
			return nil
		}
	}
	if ctx.Err() == nil {
		return fmt.Errorf("%w: the watch has ended", driver.ErrUnavailable)
	}
	return d.classify(ctx, ctx.Err())
}

// Release implements driver.Queue.
func (d *Driver) Release(ctx context.Context, c driver.Claim) error {
	resp, err := d.client.Delete(ctx, d.key(c))
	switch {
	case err != nil:
		return d.classify(ctx, err)
	case resp.Deleted == 0:
		return driver.ErrLost
	default:
		return nil
	}
}

// Watch implements driver.Watcher. While somebody holds the name, it watches that claim alone.
func (d *Driver) Watch(ctx context.Context, name string, emit func(driver.Holder) error) error {
	ctx, cancel := d.life.Within(ctx)
	defer cancel()
	queue := d.queue(name)
	for {
		resp, err := d.client.Get(ctx, queue, append(clientv3.WithFirstCreate(), clientv3.WithLimit(1))...)
		if err != nil {
			return d.classify(ctx, err)
		}
		var holder driver.Holder
		key, opts := queue, []clientv3.OpOption{clientv3.WithRev(resp.Header.Revision + 1), clientv3.WithPrefix(), clientv3.WithFilterDelete()}
		if len(resp.Kvs) > 0 {
			first := resp.Kvs[0]
			holder = driver.Holder{Token: driver.Token(first.CreateRevision), Value: first.Value[1:]}
			key, opts = string(first.Key), []clientv3.OpOption{clientv3.WithRev(resp.Header.Revision + 1), clientv3.WithFilterPut()}
		}
		if err := emit(holder); err != nil {
			return err
		}
		if err := d.event(ctx, key, opts...); err != nil {
			return err
		}
	}
}
