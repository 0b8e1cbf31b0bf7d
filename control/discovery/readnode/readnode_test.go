package readnode_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/go-os/go-os/control/discovery/driver"
	pb "github.com/go-os/go-os/control/discovery/internal/readnodev1"
	"github.com/go-os/go-os/control/discovery/readnode"
	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/telemetry"
)

// source is a registry with events sent by a test.
type source struct {
	mu      sync.Mutex
	watches map[string]chan driver.Event // by service
	started int
	ended   int
	err     error // of every watch
}

func newSource() *source { return &source{watches: map[string]chan driver.Event{}} }

func (*source) System() string { return "test" }
func (*source) Close() error   { return nil }

func (s *source) Watch(ctx context.Context, service string, emit func(driver.Event) error) error {
	s.mu.Lock()
	s.started++
	err := s.err
	s.mu.Unlock()
	if err != nil {
		return err
	}
	events := s.events(service)
	for {
		select {
		case e := <-events:
			if err := emit(e); err != nil {
				return err
			}
		case <-ctx.Done():
			s.mu.Lock()
			defer s.mu.Unlock()
			s.ended++
			return nil
		}
	}
}

func (s *source) events(service string) chan driver.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.watches[service] == nil {
		s.watches[service] = make(chan driver.Event, 100_000)
	}
	return s.watches[service]
}

func (s *source) send(service string, events ...driver.Event) {
	for _, e := range events {
		s.events(service) <- e
	}
}

func (s *source) counts() (started, ended int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.started, s.ended
}

func put(service, id string) driver.Event {
	return driver.Event{Kind: driver.EventPut, Record: driver.Record{
		Instance:    driver.Instance{Service: service, ID: id, Weight: 100, Addresses: map[string]string{"grpc": "10.0.0.7:9000"}, Labels: map[string]string{"x": "1", "y": "2"}},
		Incarnation: "3f1c", Epoch: 1,
	}}
}

var (
	resync = driver.Event{Kind: driver.EventResync}
	synced = driver.Event{Kind: driver.EventSynced}
)

// serve serves a node on a source.
func serve(t testing.TB, s driver.Reader, opts *readnode.Options) (*readnode.Node, pb.ReadNodeClient) {
	t.Helper()
	node, _, client := serveOn(t, s, opts)
	return node, client
}

// serveOn serves a node on a source, by a server with options.
func serveOn(t testing.TB, s driver.Reader, opts *readnode.Options, of ...grpc.ServerOption) (*readnode.Node, *grpc.Server, pb.ReadNodeClient) {
	t.Helper()
	if opts == nil {
		opts = &readnode.Options{}
	}
	if opts.Telemetry == (telemetry.Providers{}) {
		opts.Telemetry = telemetry.Off()
	}
	node, err := readnode.New(s, opts)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(of...)
	node.Register(server)
	go func() { _ = server.Serve(listener) }()
	conn, err := grpc.NewClient("passthrough:///"+listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		if err := node.Close(); err != nil {
			t.Error(err)
		}
		server.Stop()
	})
	return node, server, pb.NewReadNodeClient(conn)
}

// stream is a client that implements the protocol by hand.
type stream struct {
	t testing.TB
	pb.ReadNode_FollowClient
	frames [][]byte
}

func open(t testing.TB, node pb.ReadNodeClient, first *pb.Request) *stream {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	s, err := node.Follow(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Send(first); err != nil {
		t.Fatal(err)
	}
	return &stream{t: t, ReadNode_FollowClient: s}
}

// next returns the next frame that is not a Heartbeat, as text.
func (s *stream) next() string {
	s.t.Helper()
	for {
		for len(s.frames) == 0 {
			response, err := s.Recv()
			if err != nil {
				s.t.Fatal(err)
			}
			s.frames = response.GetFrames()
		}
		var f pb.Frame
		if err := proto.Unmarshal(s.frames[0], &f); err != nil {
			s.t.Fatal(err)
		}
		s.frames = s.frames[1:]
		switch {
		case f.GetWelcome() != nil:
			return fmt.Sprintf("welcome %d", f.GetWelcome().GetProtocol())
		case f.GetAnswer() != nil:
			a := f.GetAnswer()
			return strings.TrimSpace(fmt.Sprintf("%s %d %v at %d %s", a.GetService(), a.GetTag(), a.GetOutcome(), a.GetRevision(), a.GetReason()))
		case f.GetUpdate() != nil:
			return show(f.GetUpdate())
		}
	}
}

// show returns an update as text.
func show(u *pb.Update) string {
	text := fmt.Sprintf("%s r%d", u.GetService(), u.GetRevision())
	if u.GetSnapshot() {
		text += " snapshot"
	}
	if u.GetLast() {
		text += " last"
	}
	for _, e := range u.GetEvents() {
		switch {
		case e.GetPut() != nil:
			text += " +" + e.GetPut().GetId()
		case e.GetDelete() != "":
			text += " -" + e.GetDelete()
		case e.GetInvalid() != nil:
			text += " ?" + e.GetInvalid().GetPlace()
		case e.GetLost() != "":
			text += " lost"
		case e.GetSynced():
			text += " synced"
		}
	}
	return text
}

func (s *stream) expect(want ...string) {
	s.t.Helper()
	for _, w := range want {
		if got := s.next(); got != w {
			s.t.Fatalf("frame %q, want %q", got, w)
		}
	}
}

func (s *stream) send(r *pb.Request) {
	s.t.Helper()
	if err := s.Send(r); err != nil {
		s.t.Fatal(err)
	}
}

func follow(service string, tag uint64) []*pb.Interest {
	return []*pb.Interest{{Service: service, Tag: tag}}
}

// TestStream follows a service from its first record over changes, an outage and a list, and resumes.
func TestStream(t *testing.T) {
	s := newSource()
	_, node := serve(t, s, nil)
	c := open(t, node, &pb.Request{Protocol: 1, Add: follow("orders", 7)})
	c.expect("welcome 1", "orders 7 OUTCOME_PENDING at 0 the registry has not answered yet")
	s.send("orders", resync, put("orders", "b"), put("orders", "a"))
	c.send(&pb.Request{Add: follow("orders", 8)})
	c.expect("orders 8 OUTCOME_PENDING at 0 the registry has not answered yet")
	s.send("orders", synced)
	c.expect("orders 8 OUTCOME_SNAPSHOT at 0", "orders r0 snapshot last +a +b")
	s.send("orders", put("orders", "b"), put("orders", "c"))
	c.expect("orders r1 +c") // b has not changed
	s.send("orders", driver.Event{Kind: driver.EventLost, Err: driver.ErrUnavailable}, driver.Event{Kind: driver.EventLost, Err: driver.ErrUnavailable})
	c.expect("orders r2 lost")
	s.send("orders", resync, put("orders", "b"), put("orders", "d"), synced)
	c.expect("orders r3 +d", "orders r4 -a -c", "orders r5 synced")
	s.send("orders", driver.Event{Kind: driver.EventInvalid, Record: driver.Record{Instance: driver.Instance{ID: "x\xff"}}})
	c.expect("orders r6 ?x\uFFFD")

	probe := open(t, node, &pb.Request{Protocol: 1, Add: follow("orders", 1)})
	probe.expect("welcome 1", "orders 1 OUTCOME_SNAPSHOT at 6")
	epoch := epochOf(probe)
	again := open(t, node, &pb.Request{Protocol: 1, Add: []*pb.Interest{{Service: "orders", Tag: 1, Epoch: epoch, Revision: 4}}})
	again.expect("welcome 1", "orders 1 OUTCOME_RESUMED at 6", "orders r5 synced", "orders r6 ?x\uFFFD")
	other := open(t, node, &pb.Request{Protocol: 1, Add: []*pb.Interest{{Service: "orders", Tag: 1, Epoch: "of another node", Revision: 4}}})
	other.expect("welcome 1", "orders 1 OUTCOME_SNAPSHOT at 6")
	ahead := open(t, node, &pb.Request{Protocol: 1, Add: []*pb.Interest{{Service: "orders", Tag: 1, Epoch: epoch, Revision: 99}}})
	ahead.expect("welcome 1", "orders 1 OUTCOME_SNAPSHOT at 6")

	c.send(&pb.Request{Remove: []string{"orders"}, Add: follow("payments", 9)})
	c.expect("payments 9 OUTCOME_PENDING at 0 the registry has not answered yet")
	s.send("orders", put("orders", "z"))
	s.send("payments", resync, synced)
	c.expect("payments 9 OUTCOME_SNAPSHOT at 0", "payments r0 snapshot last")
}

// epochOf returns the epoch of the next update.
func epochOf(s *stream) string {
	s.t.Helper()
	if len(s.frames) == 0 {
		response, err := s.Recv()
		if err != nil {
			s.t.Fatal(err)
		}
		s.frames = response.GetFrames()
	}
	var f pb.Frame
	if err := proto.Unmarshal(s.frames[0], &f); err != nil || f.GetUpdate() == nil {
		s.t.Fatalf("no update: %v %v", &f, err)
	}
	return f.GetUpdate().GetEpoch()
}

// TestParts sends a snapshot in parts.
func TestParts(t *testing.T) {
	s := newSource()
	_, node := serve(t, s, nil)
	s.send("orders", resync)
	for n := range 5000 {
		s.send("orders", put("orders", fmt.Sprintf("i%04d", n)))
	}
	s.send("orders", synced)
	c := open(t, node, &pb.Request{Protocol: 1, Add: follow("orders", 1)})
	c.expect("welcome 1")
	for !strings.Contains(c.next(), "OUTCOME_SNAPSHOT") {
	}
	ids, parts := 0, 0
	for last := false; !last; parts++ {
		text := c.next()
		ids += strings.Count(text, "+")
		last = strings.Contains(text, " last ")
	}
	if ids != 5000 || parts < 5 {
		t.Errorf("%d instances in %d parts", ids, parts)
	}
	s.send("orders", resync, synced) // all are gone
	for ids > 0 {
		ids -= strings.Count(c.next(), "-i")
	}
}

// TestProtocol refuses a client that is too old, and uses its own revision with a newer one.
func TestProtocol(t *testing.T) {
	_, node := serve(t, newSource(), nil)
	old := open(t, node, &pb.Request{})
	if _, err := old.Recv(); status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "the client speaks protocol 0, and this read node 1 to 1: update the client") {
		t.Errorf("a client without a protocol: %v", err)
	}
	newer := &pb.Request{Protocol: 99}
	newer.ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 77, protowire.VarintType), 1))
	open(t, node, newer).expect("welcome 1")
}

// TestSilentClient ends the stream of a client that sends nothing.
func TestSilentClient(t *testing.T) {
	n, node := serve(t, newSource(), &readnode.Options{Heartbeat: 50 * time.Millisecond})
	c := open(t, node, &pb.Request{Protocol: 1, Add: follow("orders", 1)})
	for {
		_, err := c.Recv()
		if err == nil {
			continue
		}
		if status.Code(err) != codes.Aborted || !strings.Contains(err.Error(), "silent") {
			t.Errorf("got %v", err)
		}
		break
	}
	testenv.Eventually(t, 10*time.Second, "the client is forgotten", func() error {
		if n.Clients() != 0 || len(n.Status()) != 0 {
			return fmt.Errorf("%d clients, %+v", n.Clients(), n.Status())
		}
		return nil
	})
}

// TestLinger ends the watch of a service a while after its last client has left, and at once if it has no records.
func TestLinger(t *testing.T) {
	s := newSource()
	s.send("orders", resync, put("orders", "a"), synced)
	s.send("empty", resync, synced)
	n, node := serve(t, s, &readnode.Options{Linger: 300 * time.Millisecond})
	c := open(t, node, &pb.Request{Protocol: 1, Add: slices.Concat(follow("orders", 1), follow("empty", 2))})
	testenv.Eventually(t, 10*time.Second, "both are loaded", func() error {
		if st := n.Status(); len(st) != 2 || !st[0].Loaded || !st[1].Loaded {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
	c.send(&pb.Request{Remove: []string{"orders", "empty"}})
	testenv.Eventually(t, 10*time.Second, "one lingers", func() error {
		if st := n.Status(); len(st) != 1 || st[0].Service != "orders" {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
	testenv.Eventually(t, 10*time.Second, "neither is watched", func() error {
		if started, ended := s.counts(); started != 2 || ended != 2 {
			return fmt.Errorf("%d started, %d ended", started, ended)
		}
		return nil
	})
}

// TestLimits refuses services over the limits, and those that the registry refuses.
func TestLimits(t *testing.T) {
	s := newSource()
	_, node := serve(t, s, &readnode.Options{MaxServices: 2, MaxFeeds: 3})
	c := open(t, node, &pb.Request{Protocol: 1, Add: slices.Concat(follow("a", 1), follow("b", 2), follow("c", 3), follow("b", 4))})
	c.expect("welcome 1", "c 3 OUTCOME_EXHAUSTED at 0 the client follows 2 services: follow fewer, or raise readnode.Options.MaxServices")
	d := open(t, node, &pb.Request{Protocol: 1, Add: slices.Concat(follow("d", 1), follow("e", 2), follow("no/name", 3))})
	d.expect("welcome 1",
		"e 2 OUTCOME_EXHAUSTED at 0 too many services: the read node follows 3: raise readnode.Options.MaxFeeds",
		`no/name 3 OUTCOME_INVALID at 0 invalid: service "no/name": use only letters, digits, hyphens, underscores, dots and colons`)
}

// TestRefusedByTheRegistry passes on an error that no retry can fix.
func TestRefusedByTheRegistry(t *testing.T) {
	s := newSource()
	s.err = fmt.Errorf("%w: no such datacenter", driver.ErrInvalid)
	n, node := serve(t, s, nil)
	c := open(t, node, &pb.Request{Protocol: 1, Add: follow("orders", 1)})
	c.expect("welcome 1", "orders 1 OUTCOME_INVALID at 0 invalid: no such datacenter")
	if st := n.Status(); len(st) != 0 {
		t.Errorf("the node follows %+v", st)
	}
}

// TestClose ends streams, and refuses new ones.
func TestClose(t *testing.T) {
	n, node := serve(t, newSource(), nil)
	c := open(t, node, &pb.Request{Protocol: 1, Add: follow("orders", 1)})
	c.expect("welcome 1")
	for range 2 {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	}
	for {
		if _, err := c.Recv(); err != nil {
			if status.Code(err) != codes.Unavailable {
				t.Errorf("got %v", err)
			}
			break
		}
	}
	if _, err := open(t, node, &pb.Request{Protocol: 1}).Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("a stream after Close: %v", err)
	}
	if err := n.Check(t.Context()); !errors.Is(err, readnode.ErrClosed) {
		t.Errorf("Check after Close: %v", err)
	}
}

// sink is the stream of a client in this process.
type sink struct {
	grpc.ServerStream
	ctx      context.Context
	requests chan *pb.Request
	updates  chan int
	seen     int
}

func (s *sink) Context() context.Context { return s.ctx }

func (s *sink) Recv() (*pb.Request, error) {
	select {
	case r := <-s.requests:
		return r, nil
	case <-s.ctx.Done():
		return nil, io.EOF
	}
}

func (s *sink) Send(r *pb.Response) error {
	s.seen += len(r.GetFrames())
	s.updates <- len(r.GetFrames())
	return nil
}

// registrar takes the service of a node out of its hands.
type registrar struct{ server pb.ReadNodeServer }

func (r *registrar) RegisterService(_ *grpc.ServiceDesc, impl any) {
	r.server = impl.(pb.ReadNodeServer)
}

// crowd has a number of clients in this process follow one service. It returns a function that waits until each has had n frames more.
func crowd(t testing.TB, node *readnode.Node, clients int) (wait func(n int)) {
	t.Helper()
	var r registrar
	node.Register(&r)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	var sinks []*sink
	for range clients {
		s := &sink{ctx: ctx, requests: make(chan *pb.Request, 1), updates: make(chan int, 1000)}
		s.requests <- &pb.Request{Protocol: 1, Add: follow("orders", 1)}
		running.Go(func() { _ = r.server.Follow(s) })
		sinks = append(sinks, s)
	}
	wait = func(n int) {
		for _, s := range sinks {
			for left := n; left > 0; {
				left -= <-s.updates
			}
		}
	}
	wait(3) // Welcome, Answer, snapshot
	return wait
}
