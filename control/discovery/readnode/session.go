package readnode

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/go-os/go-os/control/discovery/internal/readnodev1"
	"github.com/go-os/go-os/internal/backoff"
)

// session is the stream of one client.
type session struct {
	node  *Node
	heard atomic.Int64  // time of the last frame of the client, since the start of the node
	ended chan struct{} // closed when the stream has ended

	mu        sync.Mutex
	closed    bool
	followers map[string]*follower
	news      []*follower   // with frames to send; some have ended
	refusals  [][]byte      // answers without a follower
	signal    chan struct{} // has an element while there is news
	taken     chan struct{} // has an element after the sender has taken something
}

// server implements the gRPC service.
type server struct {
	pb.UnimplementedReadNodeServer
	node *Node
}

// Follow implements the gRPC service. It returns when the client is silent or the node closes, even if Recv or Send blocks: both end with
// the stream.
func (s *server) Follow(stream pb.ReadNode_FollowServer) error {
	n := s.node
	first, err := n.first(stream)
	if err != nil {
		return err
	}
	if v := first.GetProtocol(); v < pb.Oldest {
		return status.Errorf(codes.FailedPrecondition, "the client speaks protocol %d, and this read node %d to %d: update the client", v, pb.Oldest, pb.Protocol)
	}
	c := &session{
		node: n, followers: map[string]*follower{}, ended: make(chan struct{}), signal: make(chan struct{}, 1), taken: make(chan struct{}, 1),
	}
	c.hear()
	n.joined(1)
	defer n.joined(-1)
	defer c.close()
	if err := stream.Send(&pb.Response{Frames: [][]byte{n.welcome(min(first.GetProtocol(), pb.Protocol))}}); err != nil {
		return err
	}
	received, sent := make(chan error, 1), make(chan error, 1)
	go func() { received <- c.receive(stream, first) }()
	go func() { sent <- c.serve(stream) }()
	return c.guard(stream.Context(), received, sent)
}

var errClosing = status.Error(codes.Unavailable, "the read node is closed")

// first returns the first request of a client.
func (n *Node) first(stream pb.ReadNode_FollowServer) (*pb.Request, error) {
	type result struct {
		request *pb.Request
		err     error
	}
	received := make(chan result, 1)
	go func() { // it ends with the stream
		request, err := stream.Recv()
		received <- result{request, err}
	}()
	patience := time.NewTimer(silence * n.opts.Heartbeat)
	defer patience.Stop()
	select {
	case r := <-received:
		if n.life.Err() != nil {
			return nil, errClosing
		}
		return r.request, r.err
	case <-patience.C:
		return nil, status.Error(codes.Aborted, "the client has sent no request")
	case <-n.life.Done():
		return nil, errClosing
	}
}

// guard waits until the stream ends, or ends it.
func (c *session) guard(ctx context.Context, received, sent <-chan error) error {
	check := time.NewTicker(c.node.opts.Heartbeat)
	defer check.Stop()
	for {
		select {
		case err := <-received:
			return err
		case err := <-sent:
			return err
		case <-check.C:
			if silent := time.Since(c.node.started) - time.Duration(c.heard.Load()); silent > silence*c.node.opts.Heartbeat {
				return status.Errorf(codes.Aborted, "the client has been silent for %v", silent.Round(time.Second))
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-c.node.life.Done():
			return errClosing
		}
	}
}

// receive takes the requests of the client until the stream ends.
func (c *session) receive(stream pb.ReadNode_FollowServer, request *pb.Request) error {
	for {
		c.request(request)
		var err error
		request, err = stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (c *session) request(r *pb.Request) {
	c.hear()
	for _, service := range r.GetRemove() {
		c.unfollow(service)
	}
	for _, interest := range r.GetAdd() {
		if !c.room() {
			return
		}
		c.follow(interest)
	}
}

// hear records that the client has sent or received a frame.
func (c *session) hear() { c.heard.Store(int64(time.Since(c.node.started))) }

// room waits until the sender has room for another interest. The node stops reading from a client that does not read its answers. The
// client then counts as silent and is disconnected. It returns false if the stream has ended.
func (c *session) room() bool {
	for c.waiting() >= 2*c.node.opts.MaxServices {
		select {
		case <-c.taken:
			c.hear()
		case <-c.ended:
			return false
		}
	}
	return true
}

// waiting returns how many answers and followers wait for the sender.
func (c *session) waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.news) + len(c.refusals)
}

// follow adds an interest. An earlier one in the same service ends.
func (c *session) follow(interest *pb.Interest) {
	c.unfollow(interest.GetService())
	if limit := c.node.opts.MaxServices; c.count() >= limit {
		c.refuse(interest, pb.Outcome_OUTCOME_EXHAUSTED, fmt.Sprintf(
			"the client follows %d services: follow fewer, or raise readnode.Options.MaxServices", limit))
		return
	}
	w := &follower{session: c, interest: compact(interest)}
	if err := c.node.follow(w); err != nil {
		outcome := pb.Outcome_OUTCOME_INVALID
		if errors.Is(err, errFull) {
			outcome = pb.Outcome_OUTCOME_EXHAUSTED
		}
		c.refuse(interest, outcome, err.Error())
		return
	}
	c.mu.Lock()
	closed := c.closed
	if !closed {
		c.followers[interest.GetService()] = w
	}
	c.mu.Unlock()
	if closed {
		c.node.unfollow(w)
		return
	}
	c.wake(w)
}

// compact returns an interest without unknown fields. An epoch that no node issued means none.
func compact(i *pb.Interest) *pb.Interest {
	return &pb.Interest{
		Service: i.GetService(), Tag: i.GetTag(), Epoch: text(i.GetEpoch()), Revision: i.GetRevision(), Usable: i.GetUsable(),
	}
}

func (c *session) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.followers)
}

// refuse answers an interest that the node does not follow.
func (c *session) refuse(interest *pb.Interest, outcome pb.Outcome, reason string) {
	c.node.obs.refused(outcome)
	answer := encodeAnswer(&pb.Answer{Service: text(interest.GetService()), Tag: interest.GetTag(), Outcome: outcome, Reason: text(reason)})
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refusals = append(c.refusals, answer)
	notify(c.signal)
}

func (c *session) unfollow(service string) {
	c.mu.Lock()
	w := c.followers[service]
	delete(c.followers, service)
	if w != nil {
		w.gone = true
	}
	c.mu.Unlock()
	if w != nil {
		c.node.unfollow(w)
	}
}

func (c *session) close() {
	c.mu.Lock()
	all := c.followers
	c.followers, c.closed = nil, true
	c.mu.Unlock()
	close(c.ended)
	for _, w := range all {
		c.node.unfollow(w)
	}
}

// wake notifies the sender of a follower.
func (c *session) wake(w *follower) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if w.queued {
		return
	}
	w.queued = true
	c.news = append(c.news, w)
	notify(c.signal)
}

// notify puts an element into a channel that has room for one.
func notify(signal chan<- struct{}) {
	select {
	case signal <- struct{}{}:
	default:
	}
}

// serve sends frames and heartbeats until the stream ends. A client that does not read stops here, and nothing else waits for it.
func (c *session) serve(stream pb.ReadNode_FollowServer) error {
	heartbeat := time.NewTicker(backoff.Jitter(c.node.opts.Heartbeat, 0.1))
	defer heartbeat.Stop()
	for {
		var err error
		select {
		case <-c.signal:
			err = c.send(stream)
		case <-heartbeat.C:
			err = stream.Send(&pb.Response{Frames: [][]byte{c.node.heartbeat()}})
		case <-c.ended:
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// silence is how many heartbeats a peer may miss.
const silence = 3

// send sends the events that followers lack. One message has several frames, up to maxPart bytes.
func (c *session) send(stream pb.ReadNode_FollowServer) error {
	out := sender{stream: stream, sent: c.node.obs.sent}
	for {
		refusals, w := c.next()
		if err := out.add(refusals); err != nil {
			return err
		}
		if w == nil {
			return out.flush()
		}
		if err := out.add(w.feed.next(w)); err != nil {
			return err
		}
	}
}

// next returns the refusals and the next follower with news.
func (c *session) next() (refusals [][]byte, w *follower) {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer notify(c.taken)
	refusals, c.refusals = c.refusals, nil
	for len(c.news) > 0 {
		w, c.news = c.news[0], c.news[1:]
		w.queued = false
		if !w.gone {
			return refusals, w
		}
	}
	c.news = nil
	return refusals, nil
}

// sender collects frames into messages.
type sender struct {
	stream pb.ReadNode_FollowServer
	sent   func(frames int)
	frames [][]byte
	size   int
}

func (s *sender) add(frames [][]byte) error {
	for _, frame := range frames {
		if s.size > 0 && s.size+len(frame) > maxPart {
			if err := s.flush(); err != nil {
				return err
			}
		}
		s.frames, s.size = append(s.frames, frame), s.size+len(frame)
	}
	return nil
}

func (s *sender) flush() error {
	if len(s.frames) == 0 {
		return nil
	}
	s.sent(len(s.frames))
	err := s.stream.Send(&pb.Response{Frames: s.frames})
	s.frames, s.size = nil, 0
	return err
}
