package driver

import (
	"context"
	"time"
)

// Lister goes with the ability List.
type Lister interface {
	// List returns one page of items, in the order of their keys' bytes.
	List(ctx context.Context, req ListRequest) (Page, error)
}

// ListRequest asks for one page.
type ListRequest struct {
	// Prefix of the keys. Empty means all.
	Prefix string
	// Limit is how many items the page should hold, above zero. A page may hold fewer.
	Limit int
	// Next is that of the page before; nil for the first.
	Next any
}

// Page is a part of a listing.
type Page struct {
	// Items in the order of their keys' bytes.
	Items []Item
	// Next goes into the request for the page after this one. It holds nothing that needs freeing, since a caller may
	// never ask. Nil means that this page is the last.
	Next any
}

// Watcher goes with the ability Watch.
type Watcher interface {
	// Watch calls emit with what happens, in order, from one goroutine, and blocks until emit returns an error (which it
	// returns), the context ends (whose error it returns), the place is gone (ErrCompacted), or the connection is lost:
	// any other error.
	Watch(ctx context.Context, req WatchRequest, emit func(Event) error) error
}

// WatchRequest says what to watch, and from when.
//
// With Snapshot a watch begins with Resync, the items that are there as Puts, and Synced; what follows joins them without a
// gap and without repeating any. Without it, a watch begins with Synced as soon as it is in place, and shows what is newer
// than From, or than now if From is zero.
type WatchRequest struct {
	// Key to watch. If it is empty, Prefix counts.
	Key string
	// Prefix of the keys to watch. Empty means all.
	Prefix string
	// From is the Position of an event, or the version of an item, after which to begin. Zero means now.
	From Version
	// Snapshot begins with what is there. From is zero then.
	Snapshot bool
}

// EventKind says what an event means.
type EventKind uint8

// The kinds of events.
const (
	// EventPut: the item was written, or is there.
	EventPut EventKind = iota + 1
	// EventDelete: the item was removed, or has expired.
	EventDelete
	// EventResync: what was known may be wrong. The items that are there follow as Puts, up to Synced.
	EventResync
	// EventSynced: the watch is in place, and no change will be missed. After a Resync it also says that what was not shown since
	// then does not exist.
	EventSynced
	// EventLost: the connection is lost, and what is known may be out of date until Synced comes. Only the portable type emits it.
	EventLost
)

// String names the kind.
func (k EventKind) String() string {
	switch k {
	case EventPut:
		return "put"
	case EventDelete:
		return "delete"
	case EventResync:
		return "resync"
	case EventSynced:
		return "synced"
	case EventLost:
		return "lost"
	default:
		return "unknown"
	}
}

// Event is something that a watch has to say.
type Event struct {
	// Kind of the event.
	Kind EventKind
	// Item that was written. A Delete has the key alone.
	Item Item
	// Position is the place after this event, for WatchRequest.From. Zero means that a watch cannot begin here. The items of
	// a snapshot have none: the place after them is that of Synced.
	Position Version
}

// Batcher goes with the ability Batch. Requests hold no more than MaxBatch items. Results are as many as the request's
// items and in their order; each item stands alone, and one that fails does not keep the others from being done.
type Batcher interface {
	// GetMany reads items.
	GetMany(ctx context.Context, keys []string) ([]Result, error)
	// PutMany writes items. A Result has the version alone.
	PutMany(ctx context.Context, reqs []PutRequest) ([]Result, error)
}

// Result is what became of one item of a batch.
type Result struct {
	// Item that was read or written.
	Item Item
	// Err is what Get or Put would have returned.
	Err error
}

// LeaseID identifies a lease.
type LeaseID string

// Leaser goes with the ability Leases: items that are written with a lease exist no longer than it.
type Leaser interface {
	// Grant makes a lease that lives for ttl unless it is kept alive.
	Grant(ctx context.Context, ttl time.Duration) (LeaseID, error)
	// Renew gives the lease its whole TTL again, or returns ErrNotFound when it is over.
	Renew(ctx context.Context, id LeaseID) error
	// Revoke ends the lease and deletes its items. One that is over already is no error.
	Revoke(ctx context.Context, id LeaseID) error
}

// Pinger is for engines with a better sign of life than a Get.
type Pinger interface {
	// Ping returns nil if the engine answers.
	Ping(ctx context.Context) error
}
