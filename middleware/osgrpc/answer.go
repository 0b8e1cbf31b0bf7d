package osgrpc

import (
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// unaryCall is what the attempts of a unary call share: where the caller wants the answer.
type unaryCall struct {
	reply  any
	opts   []grpc.CallOption // for each attempt
	ended  []func(error)     // the caller's grpc.OnFinish, which sees the last attempt only
	sent   atomic.Int64      // attempts that were made
	failed failure

	// Of a call whose attempts may run at the same time: each has an answer of its own.
	separate bool
	header   []*metadata.MD
	trailer  []*metadata.MD
	peer     []*peer.Peer
}

// newUnaryCall sorts the options of a call. Attempts of a call that may be hedged are kept apart if the reply is a protobuf message: others
// cannot be copied.
func newUnaryCall(hedgeable bool, reply any, opts []grpc.CallOption) *unaryCall {
	_, isProto := reply.(proto.Message)
	c := &unaryCall{reply: reply, separate: hedgeable && isProto}
	for _, o := range opts {
		if !c.takes(o) {
			c.opts = append(c.opts, o)
		}
	}
	return c
}

// takes reports whether an option is not for the attempts.
func (c *unaryCall) takes(o grpc.CallOption) bool {
	if finish, ok := o.(grpc.OnFinishCallOption); ok {
		c.ended = append(c.ended, finish.OnFinish)
		return true
	}
	if !c.separate {
		return false
	}
	switch o := o.(type) {
	case grpc.HeaderCallOption:
		c.header = append(c.header, o.HeaderAddr)
	case grpc.TrailerCallOption:
		c.trailer = append(c.trailer, o.TrailerAddr)
	case grpc.PeerCallOption:
		c.peer = append(c.peer, o.PeerAddr)
	case observedCall:
		c.peer = append(c.peer, o.PeerAddr)
	default:
		return false
	}
	return true
}

// answer is where one attempt writes its answer.
type answer struct {
	attempt *attempt
	reply   any
	opts    []grpc.CallOption
	header  metadata.MD
	trailer metadata.MD
	peer    peer.Peer
}

// answer returns a place for the answer of one attempt.
func (c *unaryCall) answer(of *attempt) *answer {
	if !c.separate {
		return &answer{attempt: of, reply: c.reply, opts: c.opts}
	}
	a := &answer{attempt: of, reply: c.reply.(proto.Message).ProtoReflect().New().Interface(), opts: c.opts[:len(c.opts):len(c.opts)]}
	if len(c.header) > 0 {
		a.opts = append(a.opts, grpc.Header(&a.header))
	}
	if len(c.trailer) > 0 {
		a.opts = append(a.opts, grpc.Trailer(&a.trailer))
	}
	if len(c.peer) > 0 {
		a.opts = append(a.opts, grpc.Peer(&a.peer))
	}
	return a
}

// finish gives the caller the answer of one attempt, and the end of the call.
func (c *unaryCall) finish(a *answer, err error) {
	if c.separate && a != nil {
		if err == nil {
			move(c.reply.(proto.Message), a.reply.(proto.Message))
		}
		for _, to := range c.header {
			*to = a.header
		}
		for _, to := range c.trailer {
			*to = a.trailer
		}
		for _, to := range c.peer {
			*to = a.peer
		}
	}
	for _, f := range c.ended {
		f(err)
	}
}

// move makes a message the only owner of the content of another one of its type.
func move(to, from proto.Message) {
	target, source := to.ProtoReflect(), from.ProtoReflect()
	proto.Reset(to)
	source.Range(func(field protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		target.Set(field, v)
		return true
	})
	target.SetUnknown(source.GetUnknown())
}
