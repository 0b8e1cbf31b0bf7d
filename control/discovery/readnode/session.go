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
	heard atomic.Int64 // when the client was heard last, as a time since the start of the node

	mu        sync.Mutex
	closed    bool
	followers map[string]*follower
	news      []*follower   // with frames to send
	refusals  [][]byte      // answers without a follower
	signal    chan struct{} // has an element while there is news
}

// server implements the gRPC service.
type server struct {
	pb.UnimplementedReadNodeServer
	node *Node
}

// Follow implements the gRPC service.
func (s *server) Follow(stream pb.ReadNode_FollowServer) error {
	n := s.node
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	if v := first.GetProtocol(); v < pb.Oldest {
		return status.Errorf(codes.FailedPrecondition, "the client speaks protocol %d, and this read node %d to %d: update the client", v, pb.Oldest, pb.Protocol)
	}
	if err := n.life.Err(); err != nil {
		return status.Error(codes.Unavailable, "the read node is closed")
	}
	c := &session{node: n, followers: map[string]*follower{}, signal: make(chan struct{}, 1)}
	n.joined(1)
	defer n.joined(-1)
	defer c.close()
	if err := stream.Send(&pb.Response{Frames: [][]byte{n.welcome(min(first.GetProtocol(), pb.Protocol))}}); err != nil {
		return err
	}
	c.request(first)
	received := make(chan error, 1)
	go func() { received <- c.receive(stream) }()
	return c.serve(stream, received)
}

// receive takes the requests of the client until the stream ends.
func (c *session) receive(stream pb.ReadNode_FollowServer) error {
	for {
		request, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		c.request(request)
	}
}

func (c *session) request(r *pb.Request) {
	c.heard.Store(int64(time.Since(c.node.started)))
	for _, service := range r.GetRemove() {
		c.unfollow(service)
	}
	for _, interest := range r.GetAdd() {
		c.follow(interest)
	}
}

// follow adds an interest. An earlier one in the same service ends.
func (c *session) follow(interest *pb.Interest) {
	c.unfollow(interest.GetService())
	if limit := c.node.opts.MaxServices; c.count() >= limit {
		c.refuse(interest, pb.Outcome_OUTCOME_EXHAUSTED, fmt.Sprintf(
			"the client follows %d services: follow fewer, or raise readnode.Options.MaxServices", limit))
		return
	}
	w := &follower{session: c, interest: interest}
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

func (c *session) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.followers)
}

// refuse answers an interest that the node does not follow.
func (c *session) refuse(interest *pb.Interest, outcome pb.Outcome, reason string) {
	c.node.obs.refused(outcome)
	answer := encodeAnswer(&pb.Answer{Service: interest.GetService(), Tag: interest.GetTag(), Outcome: outcome, Reason: text(reason)})
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refusals = append(c.refusals, answer)
	c.notify()
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
	for _, w := range all {
		c.node.unfollow(w)
	}
}

// wake has the sender look at a follower.
func (c *session) wake(w *follower) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if w.queued {
		return
	}
	w.queued = true
	c.news = append(c.news, w)
	c.notify()
}

func (c *session) notify() {
	select {
	case c.signal <- struct{}{}:
	default:
	}
}

// serve sends frames until the stream ends. A client that does not read stops here, and nothing else waits for it.
func (c *session) serve(stream pb.ReadNode_FollowServer, received <-chan error) error {
	heartbeat := time.NewTicker(backoff.Jitter(c.node.opts.Heartbeat, 0.1))
	defer heartbeat.Stop()
	for {
		select {
		case <-c.signal:
			if err := c.send(stream); err != nil {
				return err
			}
		case <-heartbeat.C:
			if silent := time.Since(c.node.started) - time.Duration(c.heard.Load()); silent > silence*c.node.opts.Heartbeat {
				return status.Errorf(codes.Aborted, "the client has been silent for %v", silent.Round(time.Second))
			}
			if err := stream.Send(&pb.Response{Frames: [][]byte{c.node.heartbeat()}}); err != nil {
				return err
			}
		case err := <-received:
			return err
		case <-stream.Context().Done():
			return context.Cause(stream.Context())
		case <-c.node.life.Done():
			return status.Error(codes.Unavailable, "the read node is closing")
		}
	}
}

// silence is how many heartbeats a peer may miss.
const silence = 3

// send sends what followers lack. One message has several frames, up to maxPart bytes.
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

// next returns the refusals and the next follower that has news.
func (c *session) next() (refusals [][]byte, w *follower) {
	c.mu.Lock()
	defer c.mu.Unlock()
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
