package kvdiscovery

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/go-os/go-os/control/discovery/driver"
	"github.com/go-os/go-os/state/kv"
)

// DefaultNamingProtocol is the default of Options.NamingProtocol.
const DefaultNamingProtocol = "grpc"

// naming keeps the endpoints of instances in the format of go.etcd.io/etcd/client/v3/naming, for gRPC clients that use its resolver. That
// resolver reads all keys below "<service>/". The last part of the key is the ID of the instance, so that a new address replaces the old one.
type naming struct {
	store    *kv.Store
	protocol string
}

// newNaming returns nil if the options have no store for endpoints.
func newNaming(records *kv.Store, opts Options) (*naming, error) {
	protocol := opts.NamingProtocol
	switch {
	case opts.Naming == nil && protocol != "":
		return nil, fmt.Errorf("kvdiscovery: New: %w: Options.NamingProtocol is %q without Options.Naming: set both", driver.ErrInvalid, protocol)
	case opts.Naming == nil:
		return nil, nil
	case opts.Naming == records:
		return nil, fmt.Errorf("kvdiscovery: New: %w: Options.Naming is the store of the records: use another namespace of it", driver.ErrInvalid)
	}
	return &naming{store: opts.Naming, protocol: cmp.Or(protocol, DefaultNamingProtocol)}, nil
}

// endpoint is a value as etcd's naming package reads it.
type endpoint struct {
	Op       int // zero: added
	Addr     string
	Metadata metadata
}

// metadata describes an instance to a client that reads endpoints.
type metadata struct {
	Version string            `json:"version,omitempty"`
	Zone    string            `json:"zone,omitempty"`
	Weight  int               `json:"weight"`
	Labels  map[string]string `json:"labels,omitempty"`
}

// encode returns the endpoint of a record, or nil if clients should not connect to it: the resolver supports neither states nor weights.
func (n *naming) encode(r driver.Record) ([]byte, error) {
	address := r.Addresses[n.protocol]
	if address == "" || r.State != driver.Up || r.Weight == 0 {
		return nil, nil
	}
	return json.Marshal(endpoint{Addr: address, Metadata: metadata{Version: r.Version, Zone: r.Zone, Weight: r.Weight, Labels: r.Labels}})
}

// name brings the endpoint of a record into the store, or removes it. The record is in the registry.
func (l *lease) name(ctx context.Context, r driver.Record) error {
	data, err := l.naming.encode(r)
	if err != nil {
		return err
	}
	for wait := retries; ; {
		if err := l.nameOnce(ctx, r, data); !errors.Is(err, kv.ErrConflict) {
			return err
		}
		if err := wait.Wait(ctx); err != nil {
			return err
		}
	}
}

// nameOnce returns ErrConflict if somebody else has written the endpoint meanwhile.
func (l *lease) nameOnce(ctx context.Context, r driver.Record, data []byte) error {
	store := l.naming.store
	it, err := store.Get(ctx, key(r))
	absent := errors.Is(err, kv.ErrNotFound)
	switch {
	case err != nil && !absent:
		return err
	case absent && data == nil:
		return nil
	case data == nil:
		return store.Delete(ctx, key(r), kv.IfVersion(it.Version))
	case !absent && it.Version == l.version(place{store, key(r)}) && bytes.Equal(it.Value, data):
		return nil
	}
	return l.put(ctx, place{store, key(r)}, data, condition(it))
}

// unname removes the endpoint that this lease has written, unless it was replaced.
func (l *lease) unname(ctx context.Context, r driver.Record) error {
	version := l.version(place{l.naming.store, key(r)})
	if version == 0 {
		return nil
	}
	err := l.naming.store.Delete(ctx, key(r), kv.IfVersion(version))
	if errors.Is(err, kv.ErrConflict) {
		return nil
	}
	return err
}
