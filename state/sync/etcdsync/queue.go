package etcdsync

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/go-os/go-os/state/sync/driver"
)

// Acquire implements driver.Queue, in one transaction. A claim that may wait for a seat of a semaphore also creates its marker.
func (d *Driver) Acquire(ctx context.Context, c driver.Claim, try bool) (driver.Token, bool, error) {
	lease, err := parse(c.Lease)
	if err != nil {
		return 0, false, err
	}
	conditions := []clientv3.Cmp{absent(d.key(c)), absent(d.tombstone(c))}
	if try && c.Seats == 1 { // if no key has the prefix, etcd compares a revision of zero
		conditions[0] = absent(d.queue(c.Name)).WithPrefix()
	}
	steps := []clientv3.Op{clientv3.OpPut(d.key(c), string(c.Value), clientv3.WithLease(lease)), d.first(c)}
	if !try && c.Seats > 1 {
		steps = append(steps, clientv3.OpPut(d.marker(c.Name, c.ID), "", clientv3.WithLease(lease)))
	}
	resp, err := d.client.Txn(ctx).If(conditions...).Then(steps...).Commit()
	switch {
	case err != nil:
		return 0, false, d.classify(ctx, err)
	case !resp.Succeeded && try && c.Seats == 1:
		return 0, false, d.refused(ctx, lease)
	case !resp.Succeeded:
		return 0, false, fmt.Errorf("%w: the claim already exists, or was withdrawn before it arrived", driver.ErrUnavailable)
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

// absent returns the condition that a key does not exist.
func absent(key string) clientv3.Cmp { return clientv3.Compare(clientv3.CreateRevision(key), "=", 0) }

// refused distinguishes a lock that is held from a lease that has ended. A transaction that puts nothing does not check the lease.
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

// first returns the operation that reads the keys of the claims with a seat, and of the next claim.
func (d *Driver) first(c driver.Claim) clientv3.Op {
	return clientv3.OpGet(d.queue(c.Name), clientv3.WithPrefix(), clientv3.WithKeysOnly(), clientv3.WithLimit(int64(c.Seats)+1),
		clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortAscend))
}

// place returns the index of a claim among the first of its queue, or -1 if it is not one of them.
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

// Await implements driver.Queue. It decides only by linearizable reads, and waits for a change between them.
func (d *Driver) Await(ctx context.Context, c driver.Claim) error {
	ctx, cancel := d.life.Within(ctx)
	defer cancel()
	for last := int64(0); ; {
		v, err := d.look(ctx, c)
		switch {
		case err != nil:
			return err
		case !v.mine:
			return driver.ErrLost
		case v.at >= 0 && v.at < c.Seats:
			return d.takeSeat(ctx, c)
		case v.before == "":
			return fmt.Errorf("%w: the response has no claim before one without a seat", driver.ErrUnavailable)
		}
		if last, err = advance(last, v.revision); err != nil {
			return err
		}
		if err := d.change(ctx, c, v); err != nil {
			return err
		}
	}
}

// advance returns the revision of a read that follows a change. A revision that has not increased is an error, since further reads could
// become a busy loop.
func advance(last, revision int64) (int64, error) {
	if revision <= last {
		return last, fmt.Errorf("%w: a change was reported after revision %d, but a read has revision %d", driver.ErrUnavailable, last, revision)
	}
	return revision, nil
}

// view is the result of one read of a queue.
type view struct {
	revision int64
	mine     bool   // the claim exists
	at       int    // index of the claim among the first; -1 if it is further behind
	before   string // the key of the claim right before it
}

// look reads a queue at one revision.
func (d *Driver) look(ctx context.Context, c driver.Claim) (v view, err error) {
	mine := clientv3.OpGet(d.key(c), clientv3.WithKeysOnly())
	before := clientv3.OpGet(d.queue(c.Name), append(clientv3.WithLastCreate(), clientv3.WithKeysOnly(),
		clientv3.WithMaxCreateRev(int64(c.Token)-1))...)
	resp, err := d.client.Txn(ctx).Then(mine, d.first(c), before).Commit()
	if err != nil {
		return v, d.classify(ctx, err)
	}
	v.revision = resp.Header.Revision
	own := resp.Responses[0].GetResponseRange().Kvs
	v.mine = len(own) == 1 && driver.Token(own[0].CreateRevision) == c.Token
	v.at = place(resp.Responses[1].GetResponseRange().Kvs, c)
	if previous := resp.Responses[2].GetResponseRange().Kvs; len(previous) == 1 {
		v.before = string(previous[0].Key)
	}
	return v, nil
}

// takeSeat deletes the marker of a semaphore's claim, so that the next waiter sees that it is now the first. A deletion is possible even when
// etcd has no space. If the claim no longer exists, takeSeat returns ErrLost.
func (d *Driver) takeSeat(ctx context.Context, c driver.Claim) error {
	if c.Seats == 1 {
		return nil
	}
	resp, err := d.client.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(d.key(c)), "=", int64(c.Token))).
		Then(clientv3.OpDelete(d.marker(c.Name, c.ID))).Commit()
	switch {
	case err != nil:
		return d.classify(ctx, err)
	case !resp.Succeeded:
		return driver.ErrLost
	default:
		return nil
	}
}

// change waits until the claims that keep c from its seat may have changed. It may return nil without a change.
func (d *Driver) change(ctx context.Context, c driver.Claim, v view) error {
	opts := []clientv3.OpOption{clientv3.WithRev(v.revision + 1), clientv3.WithFilterPut()}
	switch {
	case c.Seats == 1:
		return d.event(ctx, opts, v.before)
	case v.at == c.Seats: // the first waiter: any holder may release
		return d.event(ctx, append(opts, clientv3.WithPrefix()), d.queue(c.Name))
	default:
		return d.event(ctx, opts, v.before, d.marker(c.Name, strings.TrimPrefix(v.before, d.queue(c.Name))))
	}
}

// event waits for the first event of one or two keys. The watches have their own context, which ends with the call.
func (d *Driver) event(ctx context.Context, opts []clientv3.OpOption, keys ...string) error {
	watching, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	var watches [2]clientv3.WatchChan // a nil channel never receives
	for i, key := range keys {
		watches[i] = d.client.Watch(watching, key, opts...)
	}
	for {
		var resp clientv3.WatchResponse
		var ok bool
		select {
		case resp, ok = <-watches[0]:
		case resp, ok = <-watches[1]:
		}
		switch err := resp.Err(); {
		case !ok && ctx.Err() != nil:
			return d.classify(ctx, ctx.Err())
		case !ok:
			return fmt.Errorf("%w: the watch has ended", driver.ErrUnavailable)
		case resp.CompactRevision > 0:
			return nil
		case err != nil:
			return d.classify(ctx, err)
		case len(resp.Events) > 0:
			return nil
		}
	}
}

// Release implements driver.Queue. A claim without a token is withdrawn.
func (d *Driver) Release(ctx context.Context, c driver.Claim) error {
	switch {
	case c.Token == 0:
		return d.withdraw(ctx, c)
	case c.Seats == 1:
		resp, err := d.client.Delete(ctx, d.key(c))
		if err == nil && resp.Deleted == 0 {
			return driver.ErrLost
		}
		return d.classify(ctx, err)
	}
	resp, err := d.client.Txn(ctx).Then(d.removal(c)...).Commit()
	if err == nil && resp.Responses[0].GetResponseDeleteRange().Deleted == 0 {
		return driver.ErrLost
	}
	return d.classify(ctx, err)
}

// removal returns the operations that delete a claim and its marker.
func (d *Driver) removal(c driver.Claim) []clientv3.Op {
	return []clientv3.Op{clientv3.OpDelete(d.key(c)), clientv3.OpDelete(d.marker(c.Name, c.ID))}
}

// withdraw creates the claim's tombstone, and deletes the claim. Acquire checks the tombstone, which ends with the lease. If the lease has ended, so
// has the claim, and no late request can create it. In the state NOSPACE no tombstone can be created: the claim is deleted, but the withdrawal
// fails until there is space or the lease has ended.
func (d *Driver) withdraw(ctx context.Context, c driver.Claim) error {
	lease, err := parse(c.Lease)
	if err != nil {
		return err
	}
	tombstone := clientv3.OpPut(d.tombstone(c), "", clientv3.WithLease(lease))
	_, err = d.client.Txn(ctx).Then(append(d.removal(c), tombstone)...).Commit()
	if errors.Is(err, rpctypes.ErrNoSpace) {
		_, late := d.client.Txn(ctx).Then(d.removal(c)...).Commit()
		err = errors.Join(err, late)
	}
	return d.classify(ctx, err)
}

// Watch implements driver.Watcher. While the name is held, it watches only the holder's claim.
func (d *Driver) Watch(ctx context.Context, name string, emit func(driver.Holder) error) error {
	ctx, cancel := d.life.Within(ctx)
	defer cancel()
	queue := d.queue(name)
	for last := int64(0); ; {
		resp, err := d.client.Get(ctx, queue, append(clientv3.WithFirstCreate(), clientv3.WithLimit(1))...)
		if err != nil {
			return d.classify(ctx, err)
		}
		if last, err = advance(last, resp.Header.Revision); err != nil {
			return err
		}
		var holder driver.Holder
		key, opts := queue, []clientv3.OpOption{clientv3.WithRev(resp.Header.Revision + 1), clientv3.WithPrefix(), clientv3.WithFilterDelete()}
		if len(resp.Kvs) > 0 {
			first := resp.Kvs[0]
			holder = driver.Holder{Token: driver.Token(first.CreateRevision), Value: first.Value}
			key, opts = string(first.Key), []clientv3.OpOption{clientv3.WithRev(resp.Header.Revision + 1), clientv3.WithFilterPut()}
		}
		if err := emit(holder); err != nil {
			return err
		}
		if err := d.event(ctx, opts, key); err != nil {
			return err
		}
	}
}
