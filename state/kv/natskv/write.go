package natskv

import (
	"context"
	"errors"
	"slices"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/go-os/go-os/internal/backoff"
	"github.com/go-os/go-os/state/kv/driver"
)

// The names that JetStream's clients share.
const (
	subjects  = "$KV."
	operation = "KV-Operation"
	removed   = "DEL"
)

// Put implements driver.Driver. It is one request. A write with IfAbsent of a deleted key takes three, and a conflict two.
func (d *Driver) Put(ctx context.Context, req driver.PutRequest) (driver.Version, error) {
	msg := &nats.Msg{Subject: d.subject(escape(req.Key)), Data: req.Value}
	var opts []jetstream.PublishOpt
	if req.TTL > 0 {
		opts = append(opts, jetstream.WithMsgTTL(req.TTL))
	}
	switch {
	case req.IfVersion != 0:
		return d.publishAfter(ctx, msg, uint64(req.IfVersion), opts...)
	case req.IfAbsent:
		return d.add(ctx, msg, opts)
	}
	return d.publish(ctx, msg, opts...)
}

// publish writes a message.
func (d *Driver) publish(ctx context.Context, msg *nats.Msg, opts ...jetstream.PublishOpt) (driver.Version, error) {
	if _, err := d.open(ctx); err != nil {
		return 0, err
	}
	link := d.link()
	ack, err := d.js.PublishMsg(ctx, msg, opts...)
	if err != nil {
		return 0, d.classify(ctx, err)
	}
	d.progress.observeLeader(ack.Sequence, link)
	return driver.Version(ack.Sequence), nil
}

// publishAfter writes a message if the subject's last message has this sequence; zero means that there is none. The leader also refuses a
// write because of another one that the replicas have not accepted yet. Reads do not show that one, and it may fail. A refusal is
// therefore a conflict only if a read shows another message than the expected one.
func (d *Driver) publishAfter(ctx context.Context, msg *nats.Msg, last uint64, opts ...jetstream.PublishOpt) (driver.Version, error) {
	opts = append(slices.Clone(opts), jetstream.WithExpectLastSequencePerSubject(last))
	for {
		version, err := d.publish(ctx, msg, opts...)
		if !errors.Is(err, driver.ErrConflict) {
			return version, err
		}
		there, failed := d.last(ctx, msg.Subject)
		switch {
		case failed != nil:
			return 0, failed
		case sequence(there) != last:
			return 0, err
		}
		if failed := backoff.Sleep(ctx, catchUpEvery); failed != nil {
			return 0, failed
		}
	}
}

// sequence returns the sequence of a message, or zero for nil.
func sequence(msg *nats.RawStreamMsg) uint64 {
	if msg == nil {
		return 0
	}
	return msg.Sequence
}

// add writes a key that must not exist: its subject has no message, or the last one is a deletion.
func (d *Driver) add(ctx context.Context, msg *nats.Msg, opts []jetstream.PublishOpt) (driver.Version, error) {
	for last := uint64(0); ; {
		version, err := d.publishAfter(ctx, msg, last, opts...)
		if !errors.Is(err, driver.ErrConflict) {
			return version, err
		}
		there, err := d.last(ctx, msg.Subject)
		switch {
		case err != nil:
			return 0, err
		case !gone(there):
			return 0, driver.ErrConflict
		}
		last = sequence(there)
	}
}

// Delete implements driver.Driver. It writes a delete marker. Without a condition it reads the key first, and writes nothing if the key
// does not exist, since a watch would show the deletion.
func (d *Driver) Delete(ctx context.Context, req driver.DeleteRequest) error {
	subject := d.subject(escape(req.Key))
	if req.IfVersion != 0 {
		return d.remove(ctx, subject, uint64(req.IfVersion))
	}
	for {
		there, err := d.last(ctx, subject)
		if err != nil || gone(there) {
			return err
		}
		if err := d.remove(ctx, subject, there.Sequence); !errors.Is(err, driver.ErrConflict) {
			return err
		}
	}
}

// remove deletes a key whose last message has this sequence.
func (d *Driver) remove(ctx context.Context, subject string, last uint64) error {
	_, err := d.publishAfter(ctx, &nats.Msg{Subject: subject, Header: nats.Header{operation: {removed}}}, last)
	return err
}
