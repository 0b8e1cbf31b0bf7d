package readnodediscovery

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/go-os/go-os/control/discovery/driver"
	pb "github.com/go-os/go-os/control/discovery/internal/readnodev1"
)

// session is a stream to a node.
type session struct {
	reader    *Reader
	stream    pb.ReadNode_FollowClient
	cancel    context.CancelCauseFunc
	heartbeat time.Duration
	silence   *time.Timer // ends the stream
	backlog   [][]byte    // frames that arrived with the Welcome

	mu        sync.Mutex
	tag       uint64
	tracks    map[string]*track
	add       []*pb.Interest
	remove    []string
	signal    chan struct{} // has an element while there is something to send
	satisfied bool          // every service was in sync at some time
}

// track is the session's progress with one service.
type track struct {
	interest *interest
	tag      uint64    // of the latest request
	since    time.Time // since when the node has had no news; zero while it is in sync

	// Of the receiver only, after the request.
	phase    phase
	epoch    string // where the watchers are
	revision uint64
	target   uint64        // the revision at which the answer is complete
	lost     time.Duration // from the answer
	reason   string
}

type phase uint8

const (
	waiting  phase = iota // for the answer
	listing               // a snapshot is read
	catching              // the changes up to the target are read
	live
)

// Why the client ends a stream.
var (
	errSilent      = fmt.Errorf("%w: the read node is silent", driver.ErrUnavailable)
	errSlow        = fmt.Errorf("%w: the read node has not accepted the stream in time", driver.ErrUnavailable)
	errUnsatisfied = fmt.Errorf("%w: the read node has no news of the registry", driver.ErrUnavailable)
	errIdle        = errors.New("nothing is followed")
)

// minHeartbeat is the shortest heartbeat that a node can request.
const minHeartbeat = 100 * time.Millisecond

// connect opens a stream to a node, and returns when the node has accepted it.
func (r *Reader) connect(node int) (*session, error) {
	ctx, cancel := context.WithCancelCause(r.ctx)
	timeout := time.AfterFunc(r.opts.Timeout, func() { cancel(errSlow) })
	defer timeout.Stop()
	s := &session{reader: r, cancel: cancel, tracks: map[string]*track{}, signal: make(chan struct{}, 1)}
	welcome, err := s.open(ctx, r.nodes[node])
	if err != nil || !timeout.Stop() {
		err = s.cause(ctx, err)
		cancel(err)
		return nil, err
	}
	s.heartbeat = max(time.Duration(welcome.GetHeartbeatMs())*time.Millisecond, minHeartbeat)
	s.silence = time.AfterFunc(3*s.heartbeat, func() { cancel(errSilent) })
	r.loaded(welcome.GetClients(), welcome.GetInterests())
	r.connected(s, node)
	return s, nil
}

func (s *session) open(ctx context.Context, node pb.ReadNodeClient) (*pb.Welcome, error) {
	stream, err := node.Follow(ctx)
	if err != nil {
		return nil, err
	}
	s.stream = stream
	if err := stream.Send(&pb.Request{Protocol: pb.Protocol}); err != nil {
		_, err = stream.Recv() // has the reason
		return nil, err
	}
	response, err := stream.Recv()
	if err != nil {
		return nil, err
	}
	var first pb.Frame
	if len(response.GetFrames()) > 0 {
		err = proto.Unmarshal(response.GetFrames()[0], &first)
		s.backlog = response.GetFrames()[1:]
	}
	welcome := first.GetWelcome()
	switch {
	case err != nil || welcome == nil:
		return nil, fmt.Errorf("%w: the read node does not welcome the client: %v", driver.ErrUnavailable, err)
	case welcome.GetProtocol() < pb.Oldest || welcome.GetProtocol() > pb.Protocol:
		return nil, fmt.Errorf("%w: the read node speaks protocol %d, and this client %d to %d: update the older one",
			driver.ErrUnavailable, welcome.GetProtocol(), pb.Oldest, pb.Protocol)
	}
	return welcome, nil
}

// cause returns why the stream has ended: the reason of this client, or else the error of the node.
func (s *session) cause(ctx context.Context, err error) error {
	if own := context.Cause(ctx); own != nil {
		return own
	}
	class := driver.ErrUnavailable
	if c := status.Code(err); c == codes.PermissionDenied || c == codes.Unauthenticated {
		class = driver.ErrDenied
	}
	return driver.Classify(class, fmt.Errorf("read node: %w", err))
}

// run receives frames until the stream ends. It ends the stream if the node has had no news of a service for longer than patience and
// there is another node. It reports whether the node had news of all services at some time.
func (s *session) run(patience time.Duration) (bool, error) {
	defer s.silence.Stop()
	var sending sync.WaitGroup
	sending.Go(func() { s.send(patience) })
	err := s.receive()
	err = s.cause(s.stream.Context(), err)
	s.cancel(err)
	sending.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.satisfied, err
}

func (s *session) receive() error {
	for frames := s.backlog; ; {
		for _, data := range frames {
			var frame pb.Frame
			if err := proto.Unmarshal(data, &frame); err != nil {
				return err
			}
			s.handle(&frame)
		}
		response, err := s.stream.Recv()
		if err != nil {
			return err
		}
		s.silence.Reset(3 * s.heartbeat)
		frames = response.GetFrames()
	}
}

// send sends requests, and one at each heartbeat at least.
func (s *session) send(patience time.Duration) {
	heartbeat, check := time.NewTicker(s.heartbeat), time.NewTicker(max(patience/10, time.Millisecond))
	defer heartbeat.Stop()
	defer check.Stop()
	for {
		select {
		case <-s.signal:
		case <-heartbeat.C:
		case <-check.C:
			if err := s.examine(patience); err != nil {
				s.cancel(err)
				return
			}
			continue
		case <-s.stream.Context().Done():
			return
		}
		if s.stream.Send(s.request()) != nil {
			return // the receiver gets the reason
		}
	}
}

func (s *session) request() *pb.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &pb.Request{Add: s.add, Remove: s.remove}
	s.add, s.remove = nil, nil
	return r
}

// examine returns an error if the stream is no longer useful.
func (s *session) examine(patience time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.tracks) == 0 {
		return errIdle
	}
	all := true
	for _, t := range s.tracks {
		if t.since.IsZero() {
			continue
		}
		all = false
		if time.Since(t.since) > patience && len(s.reader.nodes) > 1 {
			return errUnsatisfied
		}
	}
	s.satisfied = s.satisfied || all
	return nil
}

// ask requests a service, or requests it again.
func (s *session) ask(i *interest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tag++
	since := time.Now()
	if t := s.tracks[i.service]; t != nil && !t.since.IsZero() {
		since = t.since
	}
	message := i.message(s.tag)
	s.tracks[i.service] = &track{interest: i, tag: s.tag, since: since, epoch: message.GetEpoch(), revision: message.GetRevision()}
	s.add = append(s.add, message)
	s.notify()
}

// forget cancels the request for a service.
func (s *session) forget(service string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.tracks, service)
	s.remove = append(s.remove, service)
	s.notify()
}

func (s *session) notify() {
	select {
	case s.signal <- struct{}{}:
	default:
	}
}

func (s *session) track(service string) *track {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tracks[service]
}

// inSync records whether the node has news of a service.
func (s *session) inSync(t *track, yes bool, age time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case yes:
		t.since = time.Time{}
	case t.since.IsZero():
		t.since = time.Now().Add(-age)
	}
}

// handle takes one frame. It ignores unknown frames of newer nodes.
func (s *session) handle(f *pb.Frame) {
	switch {
	case f.GetHeartbeat() != nil:
		s.reader.loaded(f.GetHeartbeat().GetClients(), f.GetHeartbeat().GetInterests())
	case f.GetAnswer() != nil:
		if t := s.track(f.GetAnswer().GetService()); t != nil && t.tag == f.GetAnswer().GetTag() {
			s.answer(t, f.GetAnswer())
		}
	case f.GetUpdate() != nil:
		if t := s.track(f.GetUpdate().GetService()); t != nil && t.phase != waiting {
			s.update(t, f.GetUpdate())
		}
	}
}

// answer handles the answer to a request.
func (s *session) answer(t *track, a *pb.Answer) {
	t.target, t.lost, t.reason = a.GetRevision(), time.Duration(a.GetLostMs())*time.Millisecond, a.GetReason()
	switch a.GetOutcome() {
	case pb.Outcome_OUTCOME_SNAPSHOT:
		t.phase = listing
		t.interest.lead(s)
		_ = t.interest.deliver(s, update{events: []driver.Event{{Kind: driver.EventResync}}, begins: true})
	case pb.Outcome_OUTCOME_RESUMED:
		t.phase = catching
		t.interest.lead(s)
		s.catchUp(t)
	case pb.Outcome_OUTCOME_INVALID:
		t.interest.fail(fmt.Errorf("%w: %s", driver.ErrInvalid, a.GetReason()))
	default:
		t.phase = waiting
		s.inSync(t, false, t.lost)
		t.interest.unanswered(t.failure())
	}
}

// failure returns why the node has no news.
func (t *track) failure() error {
	return fmt.Errorf("%w: the read node has no news of the registry: %s", driver.ErrUnavailable, t.reason)
}

// update handles a part of a snapshot, or a change.
func (s *session) update(t *track, u *pb.Update) {
	switch {
	case t.phase == listing && u.GetSnapshot():
		s.list(t, u)
	case t.phase != listing && u.GetEpoch() == t.epoch && u.GetRevision() == t.revision+1:
		s.change(t, u)
	default: // a change is missing, which no node should cause
		t.phase = waiting
		t.interest.misplace()
		s.reader.ask(t.interest)
	}
}

// list handles a part of a snapshot.
func (s *session) list(t *track, u *pb.Update) {
	t.epoch, t.revision = u.GetEpoch(), u.GetRevision()
	if t.interest.deliver(s, update{events: records(u)}) != nil {
		t.phase = waiting
		return
	}
	if u.GetLast() {
		t.phase = catching
		s.catchUp(t)
	}
}

// change handles a change.
func (s *session) change(t *track, u *pb.Update) {
	t.revision = u.GetRevision()
	if t.phase == catching {
		if t.interest.deliver(s, update{events: records(u)}) != nil {
			t.phase = waiting
			return
		}
		s.catchUp(t)
		return
	}
	if t.interest.deliver(s, update{events: append(records(u), t.changed(u)...), complete: true, epoch: t.epoch, revision: t.revision}) != nil {
		t.phase = waiting
		return
	}
	for _, e := range u.GetEvents() {
		switch e.GetKind().(type) {
		case *pb.Event_Lost:
			s.inSync(t, false, 0)
			t.interest.outOfReach()
		case *pb.Event_Synced:
			s.inSync(t, true, 0)
			t.interest.synced()
		}
	}
}

// catchUp ends the answer to a request if its target is reached.
func (s *session) catchUp(t *track) {
	if t.revision < t.target {
		return
	}
	t.phase = live
	events := []driver.Event{{Kind: driver.EventSynced}}
	if t.lost > 0 {
		events = append(events, driver.Event{Kind: driver.EventLost, Err: t.failure(), Age: t.lost})
	}
	if t.interest.deliver(s, update{events: events, complete: true, epoch: t.epoch, revision: t.revision}) != nil {
		t.phase = waiting
		return
	}
	s.inSync(t, t.lost == 0, t.lost)
	if t.lost == 0 {
		t.interest.synced()
	} else {
		t.interest.outOfReach()
	}
}

// records returns the events of an update that concern records.
func records(u *pb.Update) []driver.Event {
	var all []driver.Event
	for _, e := range u.GetEvents() {
		out := driver.Event{Record: driver.Record{Instance: driver.Instance{Service: u.GetService()}}}
		switch kind := e.GetKind().(type) {
		case *pb.Event_Put:
			out.Kind = driver.EventPut
			if out.Record, out.Err = kind.Put.Decode(u.GetService()); out.Err != nil {
				out.Kind = driver.EventInvalid
			}
		case *pb.Event_Delete:
			out.Kind, out.Record.ID = driver.EventDelete, kind.Delete
		case *pb.Event_Invalid:
			out.Kind, out.Record.ID = driver.EventInvalid, kind.Invalid.GetPlace()
			out.Err = fmt.Errorf("%w: %s", driver.ErrInvalid, kind.Invalid.GetReason())
		default:
			continue
		}
		all = append(all, out)
	}
	return all
}

// changed returns the events of an update that concern the node's view of the registry.
func (t *track) changed(u *pb.Update) []driver.Event {
	var all []driver.Event
	for _, e := range u.GetEvents() {
		switch kind := e.GetKind().(type) {
		case *pb.Event_Lost:
			t.reason = kind.Lost
			all = append(all, driver.Event{Kind: driver.EventLost, Err: t.failure()})
		case *pb.Event_Synced:
			all = append(all, driver.Event{Kind: driver.EventSynced})
		}
	}
	return all
}
