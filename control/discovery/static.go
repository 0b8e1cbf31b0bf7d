package discovery

import (
	"cmp"
	"context"
	"fmt"

	"github.com/go-os/go-os/control/discovery/driver"
)

// Static returns a registry of fixed instances: for tests, and for services that never move. A Weight of zero means
// DefaultWeight. It returns ErrInvalid if an instance could not be
// registered, or if two have one service and ID.
func Static(instances ...Instance) (driver.Reader, error) {
	s := static{}
	seen := map[string]bool{}
	for _, i := range instances {
		key := i.Service + "/" + i.ID
		switch err := check(i); {
		case err != nil:
			return nil, fmt.Errorf("discovery: Static: %w", err)
		case seen[key]:
			return nil, fmt.Errorf("discovery: Static: %w: two instances %s", ErrInvalid, key)
		}
		seen[key] = true
		i.Weight = cmp.Or(i.Weight, DefaultWeight)
		s[i.Service] = append(s[i.Service], driver.Record{Instance: cloned(i)})
	}
	return s, nil
}

// static holds records by service.
type static map[string][]driver.Record

// System implements driver.Reader.
func (static) System() string { return "static" }

// Close implements driver.Reader.
func (static) Close() error { return nil }

// Watch implements driver.Reader.
func (s static) Watch(ctx context.Context, service string, emit func(driver.Event) error) error {
	events := []driver.Event{{Kind: driver.EventResync}}
	for _, r := range s[service] {
		events = append(events, driver.Event{Kind: driver.EventPut, Record: r})
	}
	for _, e := range append(events, driver.Event{Kind: driver.EventSynced}) {
		if err := emit(e); err != nil {
			return err
		}
	}
	<-ctx.Done()
	return nil
}
