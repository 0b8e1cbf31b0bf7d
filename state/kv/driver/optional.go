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
	// Next is Page.Next of the page before, and nil for the first page.
	Next any
}

// Page is a part of a listing.
type Page struct {
	// Items in the order of their keys' bytes.
	Items []Item
	// Next goes into the request for the page after this one. It holds nothing that must be freed, since a caller may stop at any page.
	// Nil means that this page is the last.
	Next any
}

// Watcher goes with the ability Watch.
type Watcher interface {
	// Watch calls emit with each event, in order, from one goroutine. It blocks until emit returns an error (which it returns), the
	// context ends (whose error it returns), the position is gone (ErrCompacted), or the connection is lost (any other error).
	Watch(ctx context.Context, req WatchRequest, emit func(Event) error) error
}

// WatchRequest describes a watch.
//
// With Snapshot, a watch begins with EventResync, an EventPut for each existing item, and EventSynced. The changes that follow have no gap
// and repeat none of the items. Without it, a watch begins with EventSynced as soon as it is in place, and shows the changes after From, or
// from now on if From is zero.
type WatchRequest struct {
	// Key to watch. If it is empty, Prefix counts.
	Key string
	// Prefix of the keys to watch. Empty means all.
	Prefix string
	// From is the Position of an event, or the version of an item, after which to begin. Zero means now.
	From Version
	// Snapshot begins with the existing items. From is zero then.
	Snapshot bool
}

// EventKind says what an event means.
type EventKind uint8

// The kinds of events.
const (
	// EventPut: the item was written, or exists.
	EventPut EventKind = iota + 1
	// EventDelete: the item was removed, or has expired.
	EventDelete
	// EventResync: the state known so far may be wrong. All existing items follow as EventPut, up to EventSynced.
	EventResync
	// EventSynced: the watch is in place, and no change will be missed. Items that were not shown since the last EventResync
	// do not exist.
	EventSynced
	// EventLost: the connection is lost, and the state known so far may be stale until EventSynced. Only the portable type emits it.
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

// Event is something that a watch reports.
type Event struct {
	// Kind of the event.
	Kind EventKind
	// Item that was written. A removal has only the key.
	Item Item
	// Position is the place after this event, for WatchRequest.From. Zero means that a watch cannot begin here. The items of a snapshot
	// have none; the position after them is that of EventSynced.
	Position Version
}

// Batcher goes with the ability Batch. Requests hold no more than MaxBatch items. There is one result for each item of the request, in the
// same order. If one item fails, the others are carried out all the same.
type Batcher interface {
	// GetMany reads items.
	GetMany(ctx context.Context, keys []string) ([]Result, error)
	// PutMany writes items. The Item of a Result has only the version.
	PutMany(ctx context.Context, reqs []PutRequest) ([]Result, error)
}

// Result is the outcome of one item of a batch.
type Result struct {
	// Item that was read or written.
	Item Item
	// Err is what Get or Put would have returned.
	Err error
}

// LeaseID identifies a lease.
type LeaseID string

// Leaser goes with the ability Leases: items that are written with a lease disappear when it ends.
type Leaser interface {
	// Grant creates a lease that ends after ttl unless it is renewed.
	Grant(ctx context.Context, ttl time.Duration) (LeaseID, error)
	// Renew extends the lease to its whole TTL from now, or returns ErrNotFound if it has ended.
	Renew(ctx context.Context, id LeaseID) error
	// Revoke ends the lease and deletes its items. A lease that has already ended is not an error.
	Revoke(ctx context.Context, id LeaseID) error
}

// Validator is for drivers whose constructors return no error, though their arguments may be invalid.
type Validator interface {
	// Validate returns ErrInvalid, with the mistake, if the driver cannot work as it was made. The portable type then returns this error
	// from every call, and calls no other method of the driver but Capabilities and Close.
	Validate() error
}

// Pinger is for engines with a better check than a Get of one key.
type Pinger interface {
	// Ping returns nil if the engine answers.
	Ping(ctx context.Context) error
}
