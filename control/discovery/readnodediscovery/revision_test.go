package readnodediscovery_test

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	pb "github.com/go-os/go-os/control/discovery/internal/readnodev1"
	"github.com/go-os/go-os/internal/tooling/testenv"
)

// script is a node that welcomes clients and answers each interest with given frames.
type script struct {
	pb.UnimplementedReadNodeServer
	protocol uint32
	frames   func(*pb.Interest) [][]byte
}

// Follow implements pb.ReadNodeServer.
func (s *script) Follow(stream pb.ReadNode_FollowServer) error {
	if _, err := stream.Recv(); err != nil {
		return err
	}
	welcome := encode(&pb.Frame{Kind: &pb.Frame_Welcome{Welcome: &pb.Welcome{Protocol: s.protocol, HeartbeatMs: 60_000}}})
	for frames := [][]byte{welcome}; ; frames = nil {
		if err := stream.Send(&pb.Response{Frames: frames}); err != nil {
			return err
		}
		request, err := stream.Recv()
		if err != nil {
			return err
		}
		for _, i := range request.GetAdd() {
			if err := stream.Send(&pb.Response{Frames: s.frames(i)}); err != nil {
				return err
			}
		}
	}
}

func encode(m proto.Message) []byte {
	data, err := proto.Marshal(m)
	if err != nil {
		panic(err)
	}
	return data
}

// play serves a script and returns its address.
func play(t *testing.T, s *script) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	pb.RegisterReadNodeServer(server, s)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return listener.Addr().String()
}

// TestOtherRevisions uses nodes with a revision that the client does not support.
func TestOtherRevisions(t *testing.T) {
	for _, protocol := range []uint32{0, pb.Protocol + 1} {
		c := closing(t, newClient(t, quick(nil), play(t, &script{protocol: protocol})))
		follow(t, c, "orders")
		want := fmt.Sprintf("the read node speaks protocol %d, and this client 1 to 1", protocol)
		testenv.Eventually(t, 20*time.Second, "the revision is named", func() error {
			if err := c.Status().Err; err == nil || !strings.Contains(err.Error(), want) {
				return fmt.Errorf("got %v, want %q", err, want)
			}
			return nil
		})
	}
}

// TestUnknownFrames has a node that sends frames, events, fields and a state of a later version.
func TestUnknownFrames(t *testing.T) {
	later := protowire.AppendBytes(protowire.AppendTag(nil, 99, protowire.BytesType), []byte("later"))
	put := func(id string, state pb.State) *pb.Event {
		return &pb.Event{Kind: &pb.Event_Put{Put: &pb.Record{Id: id, State: state, Addresses: map[string]string{"grpc": "10.0.0.1:9000"}}}}
	}
	unknown := &pb.Event{}
	unknown.ProtoReflect().SetUnknown(later)
	address := play(t, &script{protocol: pb.Protocol, frames: func(i *pb.Interest) [][]byte {
		snapshot := encode(&pb.Frame{Kind: &pb.Frame_Update{Update: &pb.Update{
			Service: i.GetService(), Epoch: "e", Revision: 1, Snapshot: true, Last: true,
			Events: []*pb.Event{put("a", pb.State_STATE_UP), unknown, put("b", 99), put("c", pb.State_STATE_DRAINING)},
		}}})
		answer := &pb.Answer{Service: i.GetService(), Tag: i.GetTag(), Outcome: pb.Outcome_OUTCOME_SNAPSHOT, Revision: 1}
		answer.ProtoReflect().SetUnknown(later)
		return [][]byte{later, encode(&pb.Frame{Kind: &pb.Frame_Answer{Answer: answer}}), later, snapshot, later}
	}})
	c := closing(t, newClient(t, quick(nil), address))
	follow(t, c, "orders").expect("what the client knows", "a c")
	if s := c.Status(); s.Connections != 1 {
		t.Errorf("status %+v", s)
	}
}
