package natskv

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/go-os/go-os/state/kv/driver"
)

// The names that JetStream's clients agree on.
const (
	subjects  = "$KV."
	operation = "KV-Operation"
	removed   = "DEL"
)

// Put implements driver.Store. It is one request; a conditional one for a key that was removed before takes three.
func (s *Store) Put(ctx context.Context, req driver.PutRequest) (driver.Version, error) {
	name := escape(req.Key)
	var opts []jetstream.PublishOpt
	if req.TTL > 0 {
		opts = append(opts, jetstream.WithMsgTTL(req.TTL))
	}
	switch {
	case req.IfVersion != 0:
		opts = append(opts, jetstream.WithExpectLastSequencePerSubject(uint64(req.IfVersion)))
	case req.IfAbsent:
		return s.add(ctx, name, req.Value, opts)
	}
	return s.publish(ctx, name, req.Value, nil, opts...)
}

// publish writes a message, which is what an item is.
func (s *Store) publish(ctx context.Context, name string, value []byte, header nats.Header, opts ...jetstream.PublishOpt) (driver.Version, error) {
	ack, err := s.js.PublishMsg(ctx, &nats.Msg{Subject: subjects + s.bucket + "." + name, Data: value, Header: header}, opts...)
	if err != nil {
		return 0, s.classify(ctx, err)
	}
	return driver.Version(ack.Sequence), nil
}

// add writes a key that must not exist: one that has no message, or whose last one says that it is gone.
func (s *Store) add(ctx context.Context, name string, value []byte, opts []jetstream.PublishOpt) (driver.Version, error) {
	for last := uint64(0); ; {
		version, err := s.publish(ctx, name, value, nil, append(opts, jetstream.WithExpectLastSequencePerSubject(last))...)
		if !errors.Is(err, driver.ErrConflict) {
			return version, err
		}
		there, alive, err := s.last(ctx, name)
		switch {
		case err != nil:
			return 0, err
		case alive:
			return 0, driver.ErrConflict
		}
		last = there
	}
}

// last returns the sequence of a key's last message, zero if there is none, and whether the key exists.
func (s *Store) last(ctx context.Context, name string) (sequence uint64, alive bool, err error) {
	stream, err := s.js.Stream(ctx, "KV_"+s.bucket)
	if err != nil {
		return 0, false, s.classify(ctx, err)
	}
	msg, err := stream.GetLastMsgForSubject(ctx, subjects+s.bucket+"."+name)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return 0, false, nil
	case err != nil:
		return 0, false, s.classify(ctx, err)
	}
	gone := msg.Header.Get(operation) != "" || msg.Header.Get(jetstream.MarkerReasonHeader) != ""
	return msg.Sequence, !gone, nil
}

// Delete implements driver.Store. It writes a message that says so. Without a condition the key is looked at first: one that
// does not exist is left alone, since a watch would tell of its end.
func (s *Store) Delete(ctx context.Context, req driver.DeleteRequest) error {
	name := escape(req.Key)
	if req.IfVersion != 0 {
		return s.remove(ctx, name, uint64(req.IfVersion))
	}
	for {
		there, err := s.get(ctx, req.Key, name)
		switch {
		case errors.Is(err, driver.ErrNotFound):
			return nil
		case err != nil:
			return err
		}
		if err := s.remove(ctx, name, uint64(there.Version)); !errors.Is(err, driver.ErrConflict) {
			return err
		}
	}
}

// remove deletes a key whose last message is this one.
func (s *Store) remove(ctx context.Context, name string, last uint64) error {
	_, err := s.publish(ctx, name, nil, nats.Header{operation: {removed}}, jetstream.WithExpectLastSequencePerSubject(last))
	return err
}
