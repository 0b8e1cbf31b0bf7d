package etcdkv

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/go-os/go-os/state/kv/driver"
)

// renewals sends all renewals of a driver by one stream. clientv3.Client.KeepAliveOnce opens a stream for each, which takes client and
// server several times as long. clientv3.Client.KeepAlive shares one, but renews when it wants to.
//
// A stream belongs to one server. If that server falls silent, the stream ends, and renewals continue on another one, which may lead to
// another server. A renewal that ends early leaves the stream to the others.
type renewals struct {
	opening chan struct{} // holds a token while nobody opens a stream

	mu     sync.Mutex
	stream *renewalStream // nil, or the present one
	closed bool
}

func newRenewals() *renewals {
	r := &renewals{opening: make(chan struct{}, 1)}
	r.opening <- struct{}{}
	return r
}

// renew renews a lease. It returns rpctypes.ErrLeaseNotFound if the lease has ended.
func (r *renewals) renew(ctx context.Context, client *clientv3.Client, id clientv3.LeaseID) error {
	for {
		s, err := r.open(ctx, client)
		if err != nil {
			return err
		}
		ttl, err := s.renew(ctx, int64(id))
		switch {
		case errors.Is(err, errSilent) && ctx.Err() == nil: // another renewal gave up the stream
		case err != nil:
			return err
		case ttl <= 0:
			return rpctypes.ErrLeaseNotFound
		default:
			return nil
		}
	}
}

// open returns the present stream, or a new one.
func (r *renewals) open(ctx context.Context, client *clientv3.Client) (*renewalStream, error) {
	if s, err := r.present(); s != nil || err != nil {
		return s, err
	}
	select {
	case <-r.opening:
		defer func() { r.opening <- struct{}{} }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if s, err := r.present(); s != nil || err != nil { // somebody else has opened it meanwhile
		return s, err
	}
	s, err := dialRenewals(ctx, client)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		s.end(driver.ErrClosed)
		return nil, driver.ErrClosed
	}
	r.stream = s
	return s, nil
}

// present returns the stream if it works.
func (r *renewals) present() (*renewalStream, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, driver.ErrClosed
	}
	if r.stream != nil && r.stream.ctx.Err() != nil {
		r.stream = nil
	}
	return r.stream, nil
}

// close ends the stream, and renewals under way with driver.ErrClosed.
func (r *renewals) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	if r.stream != nil {
		r.stream.end(driver.ErrClosed)
	}
}

// renewalStream is one stream of renewals.
type renewalStream struct {
	stream   etcdserverpb.Lease_LeaseKeepAliveClient
	ctx      context.Context // ends with the stream; its cause is why
	end      context.CancelCauseFunc
	requests chan *renewal

	mu      sync.Mutex
	waiting map[int64][]*renewal // by lease, in the order in which they were sent
	heard   time.Time            // when the last answer came
}

// renewal is one request, and where its answer goes.
type renewal struct {
	id   int64
	ttl  chan int64
	sent time.Time // guarded by renewalStream.mu; zero if it was not sent
}

// patience is how long a stream must be silent before a renewal that ends without an answer ends the stream. It is shorter than a third of the
// shortest TTL.
const patience = 500 * time.Millisecond

// errSilent ends a stream whose server is silent.
var errSilent = fmt.Errorf("etcd has not answered a renewal for %s", patience)

// dialRenewals opens a stream, which outlives ctx.
func dialRenewals(ctx context.Context, client *clientv3.Client) (*renewalStream, error) {
	s := &renewalStream{requests: make(chan *renewal), waiting: map[int64][]*renewal{}}
	s.ctx, s.end = context.WithCancelCause(context.Background())
	stop := context.AfterFunc(ctx, func() { s.end(ctx.Err()) })
	var err error
	s.stream, err = clientv3.RetryLeaseClient(client).LeaseKeepAlive(s.ctx)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		s.end(err)
		return nil, rpctypes.Error(err)
	}
	go s.receive()
	go s.transmit()
	return s, nil
}

// transmit sends requests until the stream ends.
func (s *renewalStream) transmit() {
	for {
		select {
		case r := <-s.requests:
			s.mu.Lock()
			r.sent = time.Now()
			s.waiting[r.id] = append(s.waiting[r.id], r)
			s.mu.Unlock()
			if err := s.stream.Send(&etcdserverpb.LeaseKeepAliveRequest{ID: r.id}); err != nil {
				return // receive returns the reason
			}
		case <-s.ctx.Done():
			return
		}
	}
}

// receive hands the answers to those that wait, until the stream ends.
func (s *renewalStream) receive() {
	for {
		resp, err := s.stream.Recv()
		if err != nil {
			s.end(rpctypes.Error(err))
			return
		}
		s.answer(resp.ID, resp.TTL)
	}
}

// answer hands an answer to the renewal of the lease that was sent first.
func (s *renewalStream) answer(id, ttl int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heard = time.Now()
	queue := s.waiting[id]
	if len(queue) == 0 {
		return
	}
	queue[0].ttl <- ttl
	if s.waiting[id] = queue[1:]; len(queue) == 1 {
		delete(s.waiting, id)
	}
}

// renew returns the TTL of a lease that was renewed, or zero if it has ended.
func (s *renewalStream) renew(ctx context.Context, id int64) (int64, error) {
	r := &renewal{id: id, ttl: make(chan int64, 1)}
	for requests := s.requests; ; {
		select {
		case requests <- r:
			requests = nil
		case ttl := <-r.ttl:
			return ttl, nil
		case <-s.ctx.Done():
			return 0, context.Cause(s.ctx)
		case <-ctx.Done():
			if s.silent(r) {
				s.end(errSilent)
			}
			return 0, ctx.Err()
		}
	}
}

// silent reports whether a renewal was sent, and no answer to any renewal has come for patience since then.
func (s *renewalStream) silent(r *renewal) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	since := r.sent
	if s.heard.After(since) {
		since = s.heard
	}
	return !r.sent.IsZero() && time.Since(since) >= patience
}
