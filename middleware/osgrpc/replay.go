package osgrpc

import (
	"context"
	"io"
	"slices"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
)

// maxReplay is how many messages of a stream are kept until the first answer.
const maxReplay = 16

// stream opens a stream at other instances too, if one refuses it as misdirected.
func (d *directory) stream(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	s := d.serviceOf(cc)
	if s == nil {
		return streamer(ctx, desc, cc, method, opts...)
	}
	r := &replay{service: s, ctx: sending(ctx, s.name)}
	opts = r.intercept(opts)
	r.open = func() (grpc.ClientStream, error) {
		if s.route != nil {
			return s.open(r.ctx, desc, cc, method, streamer, opts)
		}
		return streamer(r.ctx, desc, cc, method, opts...)
	}
	current, err := r.open()
	if err != nil {
		return nil, s.explain(err)
	}
	r.ClientStream = current
	return r, nil
}

// replay is a stream that restarts at another instance, as long as nothing was received and all its messages are buffered.
type replay struct {
	service *service
	ctx     context.Context
	open    func() (grpc.ClientStream, error)
	from    peer.Peer
	ended   []func(error) // the caller's grpc.OnFinish

	mu                sync.Mutex
	grpc.ClientStream       // the present one
	sent              []any // to be resent
	closed            bool  // for sending
	fixed             bool  // to the present stream
	refusals          int
	unfinished        error // the end of a stream that may restart
	forget            func() bool
}

// intercept returns the options of each attempt. The caller's OnFinish must see the last one only.
func (r *replay) intercept(opts []grpc.CallOption) []grpc.CallOption {
	var own []grpc.CallOption
	for _, o := range opts {
		if finish, ok := o.(grpc.OnFinishCallOption); ok {
			r.ended = append(r.ended, finish.OnFinish)
			continue
		}
		own = append(own, o)
	}
	return append(own, grpc.Peer(&r.from), grpc.OnFinish(r.finished))
}

// finished takes the end of an attempt.
func (r *replay) finished(err error) {
	if isMisdirected(err, r.service.name) && r.postpone(err) {
		return
	}
	r.end(err)
}

// postpone reports whether the stream may restart. Otherwise it ends with the context, if the caller no longer receives.
func (r *replay) postpone(err error) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fixed || r.ctx.Err() != nil {
		return false
	}
	r.unfinished = err
	r.forget = context.AfterFunc(r.ctx, r.settle)
	return true
}

// settle ends a stream that will not restart.
func (r *replay) settle() {
	r.mu.Lock()
	err := r.unfinished
	r.unfinished = nil
	r.mu.Unlock()
	if err != nil {
		r.end(err)
	}
}

// end calls the caller's OnFinish.
func (r *replay) end(err error) {
	for _, f := range r.ended {
		f(err)
	}
}

// present returns the present stream.
func (r *replay) present() grpc.ClientStream {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ClientStream
}

// Header implements grpc.ClientStream.
func (r *replay) Header() (metadata.MD, error) { return r.present().Header() }

// Trailer implements grpc.ClientStream.
func (r *replay) Trailer() metadata.MD { return r.present().Trailer() }

// Context implements grpc.ClientStream.
func (r *replay) Context() context.Context { return r.present().Context() }

// SendMsg implements grpc.ClientStream. While the stream may restart, it hides the end of the present one: RecvMsg returns the cause.
func (r *replay) SendMsg(m any) error {
	r.mu.Lock()
	if !r.fixed && len(r.sent) == maxReplay {
		r.fix()
	}
	kept := !r.fixed
	if kept {
		r.sent = append(r.sent, m)
	}
	current := r.ClientStream
	r.mu.Unlock()
	err := current.SendMsg(m)
	if err == io.EOF && kept {
		return nil
	}
	return err
}

// CloseSend implements grpc.ClientStream.
func (r *replay) CloseSend() error {
	r.mu.Lock()
	r.closed = true
	current := r.ClientStream
	r.mu.Unlock()
	return current.CloseSend()
}

// RecvMsg implements grpc.ClientStream.
func (r *replay) RecvMsg(m any) error {
	for {
		current := r.present()
		err := current.RecvMsg(m)
		if !isMisdirected(err, r.service.name) {
			r.mu.Lock()
			r.fix()
			r.mu.Unlock()
			if err == nil || err == io.EOF {
				return err
			}
			return r.service.explain(unmarked(err))
		}
		if again := r.again(); again != nil {
			r.settle()
			return unmarked(err)
		}
	}
}

// fix ends the ability to restart. r.mu is held.
func (r *replay) fix() { r.fixed, r.sent = true, nil }

// again restarts the stream at another instance.
func (r *replay) again() error {
	r.service.refuse(r.ctx, r.from.Addr)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refusals++; r.fixed || r.refusals == maxRefusals {
		r.fix()
		return errAbandoned
	}
	next, err := r.open()
	if err != nil {
		r.fix()
		return err
	}
	r.ClientStream, r.unfinished = next, nil
	r.forget()
	for _, m := range slices.Clone(r.sent) {
		if err := next.SendMsg(m); err != nil {
			break // RecvMsg finds out why
		}
	}
	if r.closed {
		_ = next.CloseSend()
	}
	return nil
}
