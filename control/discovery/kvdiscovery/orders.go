package kvdiscovery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/go-os/go-os/control/discovery/driver"
	"github.com/go-os/go-os/state/kv"
)

// orderSuffix follows the record's key in the key of an order. No ID contains a slash.
const orderSuffix = "/drain"

// order is an operator's request to an instance.
type order struct {
	// Incarnation of the process that the order is for. Its successor is not drained.
	Incarnation string `json:"incarnation"`
}

// isOrder reports whether an event is about an order, and not about a record.
func isOrder(e kv.Event) bool {
	return (e.Kind == kv.EventPut || e.Kind == kv.EventDelete) && strings.HasSuffix(e.Item.Key, orderSuffix) && strings.Count(e.Item.Key, "/") == 2
}

// Drain implements driver.Drainer.
func (r *Registry) Drain(ctx context.Context, service, id string, keep time.Duration) error {
	record := driver.Record{Instance: driver.Instance{Service: service, ID: id}}
	item, err := r.store.Get(ctx, key(record))
	if err != nil {
		return err
	}
	if record, err = decode(item); err != nil {
		return err
	}
	if record.State == driver.Gone {
		return fmt.Errorf("%w: the instance has deregistered", driver.ErrNotFound)
	}
	data, err := json.Marshal(order{Incarnation: record.Incarnation})
	if err != nil {
		return err
	}
	_, err = r.store.Put(ctx, key(record)+orderSuffix, data, kv.TTL(keep))
	return err
}

// Undrain implements driver.Drainer.
func (r *Registry) Undrain(ctx context.Context, service, id string) error {
	name := key(driver.Record{Instance: driver.Instance{Service: service, ID: id}}) + orderSuffix
	item, err := r.store.Get(ctx, name)
	if errors.Is(err, kv.ErrNotFound) {
		return fmt.Errorf("%w: nobody has ordered the instance to drain", driver.ErrNotFound)
	}
	if err != nil {
		return err
	}
	return r.store.Delete(ctx, name, kv.IfVersion(item.Version))
}

// orders are the orders known to a process, by the key of the record. The zero value has none.
type orders struct {
	mu    sync.Mutex
	known map[string]order
}

// apply returns the record as the order about it demands.
func (o *orders) apply(r driver.Record) driver.Record {
	o.mu.Lock()
	defer o.mu.Unlock()
	if given, ok := o.known[key(r)]; ok && given.Incarnation == r.Incarnation && r.State != driver.Gone {
		r.State = driver.Draining
	}
	return r
}

// follow keeps the order for a record up to date, and calls changed after it was given or taken back.
func (o *orders) follow(ctx context.Context, store *kv.Store, record string, changed func()) error {
	found := false // by the snapshot that is being read
	for event, err := range store.Watch(ctx, record+orderSuffix, kv.Current()) {
		if err != nil {
			return err
		}
		switch event.Kind {
		case kv.EventResync:
			found = false
		case kv.EventPut:
			found = true
			o.put(record, event.Item.Value, changed)
		case kv.EventDelete:
			o.remove(record, changed)
		case kv.EventSynced:
			if !found {
				o.remove(record, changed)
			}
		}
	}
	return nil
}

// put keeps an order. A malformed order counts as missing.
func (o *orders) put(record string, value []byte, changed func()) {
	var given order
	if json.Unmarshal(value, &given) != nil {
		o.remove(record, changed)
		return
	}
	o.mu.Lock()
	if o.known == nil {
		o.known = map[string]order{}
	}
	o.known[record] = given
	o.mu.Unlock()
	changed()
}

func (o *orders) remove(record string, changed func()) {
	o.mu.Lock()
	_, known := o.known[record]
	delete(o.known, record)
	o.mu.Unlock()
	if known {
		changed()
	}
}
