package etcdkv

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/connectivity"

	"github.com/go-os/go-os/state/kv/driver"
)

func item(kv *mvccpb.KeyValue) driver.Item {
	it := driver.Item{Key: string(kv.Key), Value: kv.Value, Version: driver.Version(kv.ModRevision)}
	if it.Value == nil { // protobuf decodes an empty value as nil
		it.Value = []byte{}
	}
	return it
}

// cursor is the position of a listing: a key, and the revision of the first page.
type cursor struct {
	after    string
	revision int64
}

// List implements driver.Lister.
func (d *Driver) List(ctx context.Context, req driver.ListRequest) (driver.Page, error) {
	from, _ := req.Next.(cursor)
	page, _, err := d.list(ctx, req.Prefix, from, req.Limit)
	return page, err
}

// list returns a page, and the header of the response.
func (d *Driver) list(ctx context.Context, prefix string, from cursor, limit int) (driver.Page, *etcdserverpb.ResponseHeader, error) {
	begin, end := prefix, clientv3.GetPrefixRangeEnd(prefix)
	if prefix == "" {
		begin, end = "\x00", "\x00" // all keys
	}
	if from.after != "" {
		begin = from.after + "\x00" // the smallest greater key
	}
	resp, err := d.client.Get(ctx, begin, clientv3.WithRange(end), clientv3.WithLimit(int64(limit)), clientv3.WithRev(from.revision))
	if err != nil {
		return driver.Page{}, nil, d.classify(ctx, err)
	}
	page := driver.Page{Items: make([]driver.Item, len(resp.Kvs))}
	for i, kv := range resp.Kvs {
		page.Items[i] = item(kv)
	}
	if resp.More {
		page.Next = cursor{after: page.Items[len(page.Items)-1].Key, revision: cmp.Or(from.revision, resp.Header.Revision)}
	}
	return page, resp.Header, nil
}

// errReplaced ends a watch whose position belongs to another cluster.
var errReplaced = fmt.Errorf("%w: the cluster was replaced or restored", driver.ErrCompacted)

// Watch implements driver.Watcher.
func (d *Driver) Watch(ctx context.Context, req driver.WatchRequest, emit func(driver.Event) error) error {
	if req.From >= math.MaxInt64 {
		return driver.ErrCompacted
	}
	at := int64(req.From)
	var err error
	switch {
	case req.Snapshot:
		at, err = d.snapshot(ctx, req, emit)
	case at != 0:
		err = d.remembers(ctx, at)
	default:
		at, err = d.revision(ctx, cmp.Or(req.Key, req.Prefix, "\x00"))
	}
	if err != nil {
		return err
	}
	inner, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	key, opts := req.Key, []clientv3.OpOption{clientv3.WithCreatedNotify()}
	if key == "" {
		opts = append(opts, clientv3.WithPrefix())
		key = req.Prefix
	}
	opts = append(opts, clientv3.WithRev(at+1))
	placed := false
	for resp := range d.client.Watch(inner, key, opts...) {
		if resp.CompactRevision != 0 {
			return driver.ErrCompacted
		}
		if err := resp.Err(); err != nil {
			return d.classify(ctx, err)
		}
		if !d.history.advance(resp.Header) {
			return errReplaced
		}
		if resp.Created && !placed {
			placed = true
			go d.endWithConnection(inner, cancel)
			if err := emit(driver.Event{Kind: driver.EventSynced, Position: driver.Version(at)}); err != nil {
				return err
			}
		}
		if err := emitAll(resp.Events, emit); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("%w: the connection to etcd is lost", driver.ErrUnavailable)
}

// revision returns the revision of the cluster from a linearizable read. A watch without a revision starts at the revision of its server.
// If the server lags, such a watch shows writes that were acknowledged before it started. The client must have permission to read the
// key.
func (d *Driver) revision(ctx context.Context, key string) (int64, error) {
	known := d.history.latest()
	resp, err := d.client.Get(ctx, key, clientv3.WithCountOnly())
	if err != nil {
		return 0, d.classify(ctx, err)
	}
	d.history.observe(resp.Header, known, 0)
	return resp.Header.Revision, nil
}

// remembers returns nil if etcd has the changes after a revision. It must be called before the watch: etcd first reports that a watch is
// established, and then that its revision is compacted. A watch does not detect a future revision either. Such a revision comes from
// another cluster, or from this one before it was restored from a backup. history detects one that the present cluster has passed.
func (d *Driver) remembers(ctx context.Context, revision int64) error {
	known := d.history.latest()
	resp, err := d.client.Get(ctx, "\x00", clientv3.WithRev(revision), clientv3.WithCountOnly())
	switch {
	case err == nil && d.history.observe(resp.Header, known, revision):
		return errReplaced
	case err == nil:
		return nil
	case errors.Is(err, rpctypes.ErrCompacted), errors.Is(err, rpctypes.ErrFutureRev):
		return driver.Classify(driver.ErrCompacted, err)
	default:
		return d.classify(ctx, err)
	}
}

// snapshot emits the existing items, and returns their revision.
func (d *Driver) snapshot(ctx context.Context, req driver.WatchRequest, emit func(driver.Event) error) (int64, error) {
	if err := emit(driver.Event{Kind: driver.EventResync}); err != nil {
		return 0, err
	}
	known := d.history.latest()
	if req.Key != "" {
		resp, err := d.client.Get(ctx, req.Key)
		if err != nil {
			return 0, d.classify(ctx, err)
		}
		d.history.observe(resp.Header, known, 0)
		for _, kv := range resp.Kvs {
			if err := emit(driver.Event{Kind: driver.EventPut, Item: item(kv)}); err != nil {
				return 0, err
			}
		}
		return resp.Header.Revision, nil
	}
	const limit = 500
	for from := (cursor{}); ; {
		page, header, err := d.list(ctx, req.Prefix, from, limit)
		if err != nil {
			return 0, err
		}
		d.history.observe(header, known, 0)
		for _, it := range page.Items {
			if err := emit(driver.Event{Kind: driver.EventPut, Item: it}); err != nil {
				return 0, err
			}
		}
		if page.Next == nil {
			return cmp.Or(from.revision, header.Revision), nil
		}
		from = page.Next.(cursor)
	}
}

// emitAll emits events. Several events may share a revision, such as the deletions at the end of a lease. A watch that resumes between
// them starts before the first of them.
func emitAll(events []*clientv3.Event, emit func(driver.Event) error) error {
	for i, ev := range events {
		shown := driver.Event{Kind: driver.EventPut, Item: item(ev.Kv), Position: driver.Version(ev.Kv.ModRevision)}
		if ev.Type == clientv3.EventTypeDelete {
			shown.Kind, shown.Item = driver.EventDelete, driver.Item{Key: string(ev.Kv.Key)}
		}
		if i+1 < len(events) && events[i+1].Kv.ModRevision == ev.Kv.ModRevision {
			shown.Position--
		}
		if err := emit(shown); err != nil {
			return err
		}
	}
	return nil
}

// endWithConnection ends a watch when the client loses its connection. The client would resume the watch by itself, without a gap, but would
// not report that the known state is stale until then.
func (d *Driver) endWithConnection(ctx context.Context, end context.CancelFunc) {
	conn := d.client.ActiveConnection()
	for state := conn.GetState(); state == connectivity.Ready; state = conn.GetState() {
		if !conn.WaitForStateChange(ctx, state) {
			return
		}
	}
	end()
}
