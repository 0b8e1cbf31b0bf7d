package consulsync

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/go-os/go-os/state/sync/driver"
)

// Acquire implements driver.Queue, in one transaction. With try, a read comes first, so that no claim is created that would have to wait.
func (d *Driver) Acquire(ctx context.Context, c driver.Claim, try bool) (driver.Token, bool, error) {
	if try {
		claims, _, err := d.claims(ctx, c.Name)
		if err != nil {
			return 0, false, err
		}
		if len(claims) >= c.Seats {
			return 0, false, driver.ErrHeld
		}
	}
	behind := !try && d.reads.waits(c.Name) // a waiter of this process is ahead of the claim, so Await must read the queue anyway
	claims, err := d.join(ctx, c, !behind)
	if err != nil {
		return 0, false, err
	}
	at := position(claims, d.key(c))
	if at < 0 {
		return 0, false, fmt.Errorf("%w: the response does not contain the claim that was created", driver.ErrUnavailable)
	}
	c.Token = driver.Token(claims[at].CreateIndex)
	if try && at >= c.Seats { // another claim came first
		if err := d.Release(ctx, c); err != nil {
			return 0, false, err
		}
		return 0, false, driver.ErrHeld
	}
	return c.Token, !behind && at < c.Seats, nil
}

// position returns the index of the claim with a key, or -1.
func position(claims []*api.KVPair, key string) int {
	return slices.IndexFunc(claims, func(p *api.KVPair) bool { return p.Key == key })
}

// join creates the key of a claim. It returns the whole queue, or only the claim.
func (d *Driver) join(ctx context.Context, c driver.Claim, whole bool) ([]*api.KVPair, error) {
	ops := api.KVTxnOps{
		{Verb: api.KVCheckNotExists, Key: d.tombstone(c)},
		{Verb: api.KVLock, Key: d.key(c), Value: c.Value, Session: string(c.Lease)},
	}
	if whole {
		ops = append(ops, &api.KVTxnOp{Verb: api.KVGetTree, Key: d.queue(c.Name)})
	}
	done, resp, _, err := d.client.KV().Txn(ops, (&api.QueryOptions{RequireConsistent: true}).WithContext(ctx))
	switch {
	case err != nil:
		return nil, d.classify(ctx, err)
	case done:
		return order(d.queue(c.Name), resp.Results), nil
	case d.withdrawn(resp):
		return nil, fmt.Errorf("%w: the claim was withdrawn before it arrived", driver.ErrUnavailable)
	default:
		return nil, d.rejected(resp)
	}
}

// withdrawn reports whether the operation that failed is the first one of the transaction, which checks the tombstone.
func (*Driver) withdrawn(resp *api.KVTxnResponse) bool {
	return len(resp.Errors) == 1 && resp.Errors[0].OpIndex == 0
}

// rejected returns the error of a transaction that Consul rejected.
func (*Driver) rejected(resp *api.KVTxnResponse) error {
	if slices.ContainsFunc(resp.Errors, func(e *api.TxnError) bool { return strings.Contains(e.What, "invalid session") }) {
		return fmt.Errorf("%w: invalid session", driver.ErrLost)
	}
	return fmt.Errorf("%w: Consul refused a transaction: %v", driver.ErrUnavailable, resp.Errors)
}

// errForeign is the error of a response without an index, such as a proxy's 404. The client treats such a response as an empty list of
// keys. Consul's own index is never zero.
var errForeign = errors.New("the response has no X-Consul-Index, so it is not from Consul")

// list reads a queue, and returns the index of the response. Its errors are not classified.
func (d *Driver) list(ctx context.Context, name string) ([]*api.KVPair, uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	pairs, meta, err := d.client.KV().List(d.queue(name), (&api.QueryOptions{RequireConsistent: true}).WithContext(ctx))
	switch {
	case err != nil:
		return nil, 0, err
	case meta.LastIndex == 0:
		return nil, 0, errForeign
	}
	return order(d.queue(name), pairs), meta.LastIndex, nil
}

// order returns the claims of a queue in the order of their creation. It drops the second result of a key, which comes from the lock, and
// keys without a session, which this driver did not create.
func order(queue string, pairs []*api.KVPair) []*api.KVPair {
	seen := make(map[string]bool, len(pairs))
	claims := slices.DeleteFunc(slices.Clone(pairs), func(p *api.KVPair) bool {
		twice := seen[p.Key]
		seen[p.Key] = true
		return twice || p.Session == "" || !strings.HasPrefix(p.Key, queue)
	})
	slices.SortFunc(claims, func(a, b *api.KVPair) int { return cmp.Compare(a.CreateIndex, b.CreateIndex) })
	return claims
}

// Await implements driver.Queue. It decides only by consistent reads, and waits for a change between them.
func (d *Driver) Await(ctx context.Context, c driver.Claim) error {
	ctx, cancel := d.life.Within(ctx)
	defer cancel()
	defer d.reads.enter(c.Name)()
	key := d.key(c)
	for {
		claims, index, err := d.claims(ctx, c.Name)
		if err != nil {
			return err
		}
		at := position(claims, key)
		switch {
		case at < 0 || driver.Token(claims[at].CreateIndex) != c.Token:
			return driver.ErrLost
		case at < c.Seats:
			return nil
		case c.Seats == 1:
			err = d.change(ctx, claims[at-1].Key, index)
		default:
			err = d.changeBelow(ctx, c.Name, index)
		}
		if err != nil {
			return err
		}
	}
}

// change waits until a key may have changed since index. A query of an existing key returns the index of the key's last change.
func (d *Driver) change(ctx context.Context, key string, index uint64) error {
	return d.block(ctx, index, func(q *api.QueryOptions) (bool, error) {
		pair, meta, err := d.client.KV().Get(key, q)
		if err == nil && meta.LastIndex == 0 {
			err = errForeign
		}
		return err == nil && (pair == nil || meta.LastIndex > index), err
	})
}

// changeBelow waits until a key below a name may have changed since index.
func (d *Driver) changeBelow(ctx context.Context, name string, index uint64) error {
	return d.block(ctx, index, func(q *api.QueryOptions) (bool, error) {
		_, meta, err := d.client.KV().Keys(d.queue(name), "", q)
		if err == nil && meta.LastIndex == 0 {
			err = errForeign
		}
		return err == nil && meta.LastIndex != index, err
	})
}

// block repeats a blocking query until it returns a change.
func (d *Driver) block(ctx context.Context, index uint64, query func(*api.QueryOptions) (bool, error)) error {
	for {
		asked, cancel := context.WithTimeout(ctx, d.wait+d.wait/6+answerWithin)
		began := time.Now()
		changed, err := query((&api.QueryOptions{WaitIndex: index, WaitTime: d.wait}).WithContext(asked))
		cancel()
		switch {
		case err != nil && asked.Err() != nil && ctx.Err() == nil:
			return fmt.Errorf("%w: a blocking query was not answered in time", driver.ErrUnavailable)
		case err != nil:
			return d.classify(ctx, err)
		case changed:
			return nil
		case time.Since(began) < d.wait/2:
			return fmt.Errorf("%w: a blocking query returned early and without a change", driver.ErrUnavailable)
		}
	}
}

// Release implements driver.Queue. A claim without a token is withdrawn.
func (d *Driver) Release(ctx context.Context, c driver.Claim) error {
	if c.Token == 0 {
		return d.withdraw(ctx, c)
	}
	key := d.key(c)
	done, resp, _, err := d.client.KV().Txn(api.KVTxnOps{
		{Verb: api.KVCheckSession, Key: key, Session: string(c.Lease)}, {Verb: api.KVDelete, Key: key},
	}, (&api.QueryOptions{}).WithContext(ctx))
	switch {
	case err != nil:
		return d.classify(ctx, err)
	case !done && len(resp.Errors) > 0 && resp.Errors[0].OpIndex == 0:
		return driver.ErrLost
	case !done:
		return d.rejected(resp)
	default:
		return nil
	}
}

// withdraw creates the claim's tombstone, and deletes the claim. join checks the tombstone, which ends with the session. If the session has ended,
// so has the claim, and no late request can create it.
func (d *Driver) withdraw(ctx context.Context, c driver.Claim) error {
	done, resp, _, err := d.client.KV().Txn(api.KVTxnOps{
		{Verb: api.KVLock, Key: d.tombstone(c), Session: string(c.Lease)}, {Verb: api.KVDelete, Key: d.key(c)},
	}, (&api.QueryOptions{}).WithContext(ctx))
	switch {
	case err != nil:
		return d.classify(ctx, err)
	case !done:
		return d.rejected(resp)
	default:
		return nil
	}
}

// Watch implements driver.Watcher. While the name is held, it waits only for a change of the holder's claim.
func (d *Driver) Watch(ctx context.Context, name string, emit func(driver.Holder) error) error {
	ctx, cancel := d.life.Within(ctx)
	defer cancel()
	for {
		claims, index, err := d.claims(ctx, name)
		if err != nil {
			return err
		}
		var holder driver.Holder
		if len(claims) > 0 {
			holder = driver.Holder{Token: driver.Token(claims[0].CreateIndex), Value: claims[0].Value}
		}
		if err := emit(holder); err != nil {
			return err
		}
		if len(claims) > 0 {
			err = d.change(ctx, claims[0].Key, index)
		} else {
			err = d.changeBelow(ctx, name, index)
		}
		if err != nil {
			return err
		}
	}
}
