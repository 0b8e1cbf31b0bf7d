package kv

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/go-os/go-os/internal/instrument"
	"github.com/go-os/go-os/state/kv/driver"
)

// Entry is one item for PutMany to write.
type Entry struct {
	// Key to write.
	Key string
	// Value to write.
	Value []byte
	// Options as for Put.
	Options []PutOption
}

// GetMany reads several items: in one request if the engine has batches, otherwise in Options.Parallel requests at a time. Results are in
// the order of the keys, each with its own error. A missing item has ErrNotFound, which is not an error of the call. The error of the
// call counts the items that could not be read, and wraps the first reason.
func (s *Store) GetMany(ctx context.Context, keys []string) (results []Result, err error) {
	ctx, call := beginBatch(ctx, s.engine.getMany, len(keys))
	defer call.End(ctx, &err)
	full := make([]string, len(keys))
	for i, key := range keys {
		if full[i], err = s.admit(ctx, key); err != nil {
			return nil, &Error{Op: call.Operation(), Key: key, Err: fmt.Errorf("item %d: %w", i, err)}
		}
	}
	results = batch(ctx, s.engine, full, s.readBatch, s.readOne)
	return results, s.finish(call.Operation(), keys, results, ErrNotFound)
}

func (s *Store) readBatch(ctx context.Context, b driver.Batcher, keys []string) ([]Result, error) {
	return b.GetMany(ctx, keys)
}

func (s *Store) readOne(ctx context.Context, key string) (r Result) {
	r.Item, r.Err = s.engine.Get(ctx, key)
	return r
}

// PutMany writes several items: in one request if the engine has batches, otherwise in Options.Parallel requests at a time. A batch is not
// a transaction: each item is written or fails by itself. Results are in the order of the entries, each with the version or the error of
// its item. The error of the call counts the items that failed, and wraps the first reason. If an entry is invalid or too large, PutMany
// writes nothing and returns no results.
func (s *Store) PutMany(ctx context.Context, entries []Entry) (results []Result, err error) {
	ctx, call := beginBatch(ctx, s.engine.putMany, len(entries))
	defer call.End(ctx, &err)
	reqs := make([]driver.PutRequest, len(entries))
	keys := make([]string, len(entries))
	for i, e := range entries {
		keys[i] = e.Key
		if reqs[i], err = s.putRequest(ctx, e.Key, e.Value, e.Options); err != nil {
			return nil, &Error{Op: call.Operation(), Key: e.Key, Err: fmt.Errorf("item %d: %w", i, err)}
		}
	}
	results = batch(ctx, s.engine, reqs, s.writeBatch, s.writeOne)
	return results, s.finish(call.Operation(), keys, results, nil)
}

func (s *Store) writeBatch(ctx context.Context, b driver.Batcher, reqs []driver.PutRequest) ([]Result, error) {
	return b.PutMany(ctx, reqs)
}

func (s *Store) writeOne(ctx context.Context, req driver.PutRequest) (r Result) {
	r.Item.Version, r.Err = s.engine.Put(ctx, req)
	return r
}

// beginBatch opens a call on several items.
func beginBatch(ctx context.Context, op *instrument.Op, size int) (context.Context, instrument.Call) {
	ctx, call := op.Start(ctx, "")
	if call.Recording() {
		call.Set(batchSizeAttr.Int(size))
	}
	return ctx, call
}

// batch sends requests in the engine's own batches, within its limit, or else one by one, several at a time.
func batch[R any](
	ctx context.Context, e *engine, reqs []R,
	many func(context.Context, driver.Batcher, []R) ([]Result, error), one func(context.Context, R) Result,
) []Result {
	results := make([]Result, 0, len(reqs))
	if b, err := optional[driver.Batcher](e, Batch); err == nil {
		most := e.caps.MaxBatch
		if most <= 0 {
			most = max(len(reqs), 1)
		}
		for chunk := range slices.Chunk(reqs, most) {
			done, err := many(ctx, b, chunk)
			if err != nil {
				done = slices.Repeat([]Result{{Err: err}}, len(chunk))
			}
			results = append(results, done...)
		}
		return results
	}
	results = results[:len(reqs)]
	var group errgroup.Group
	group.SetLimit(e.opts.Parallel)
	for i, req := range reqs {
		group.Go(func() error {
			results[i] = one(ctx, req)
			return nil
		})
	}
	_ = group.Wait() // each item has its own error
	return results
}

// finish gives results the keys of the caller and errors that name them, and counts the failures.
func (s *Store) finish(op string, keys []string, results []Result, harmless error) error {
	failed, first := 0, error(nil)
	for i := range results {
		r := &results[i]
		r.Item.Key = keys[i]
		if r.Err == nil {
			continue
		}
		r.Err = &Error{Op: op, Key: keys[i], Err: r.Err}
		if harmless != nil && errors.Is(r.Err, harmless) {
			continue
		}
		if failed++; first == nil {
			first = r.Err
		}
	}
	if failed == 0 {
		return nil
	}
	return fmt.Errorf("%d of %d items failed, the first: %w", failed, len(results), first)
}
