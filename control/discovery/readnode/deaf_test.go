package readnode_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/go-os/go-os/control/discovery/driver"
	pb "github.com/go-os/go-os/control/discovery/internal/readnodev1"
	"github.com/go-os/go-os/control/discovery/readnode"
	"github.com/go-os/go-os/internal/tooling/testenv"
)

// large is a source with a service; its snapshot is larger than the buffers of a connection.
func large() *source {
	s := newSource()
	s.send("orders", resync)
	for n := range 3000 {
		e := put("orders", fmt.Sprint("i", n))
		e.Record.Labels = map[string]string{"long": strings.Repeat("x", 500)}
		s.send("orders", e)
	}
	s.send("orders", synced)
	return s
}

// deaf opens a stream and reads no answers.
func deaf(t *testing.T, node pb.ReadNodeClient) pb.ReadNode_FollowClient {
	t.Helper()
	c, err := node.Follow(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func expectClients(t *testing.T, n *readnode.Node, want int) {
	t.Helper()
	testenv.Eventually(t, 20*time.Second, fmt.Sprintf("%d clients", want), func() error {
		if got := n.Clients(); got != want {
			return fmt.Errorf("%d clients", got)
		}
		return nil
	})
}

// TestSilentClientThatDoesNotRead ends the stream of a client that sends nothing and reads nothing.
func TestSilentClientThatDoesNotRead(t *testing.T) {
	n, node := serve(t, large(), &readnode.Options{Heartbeat: 300 * time.Millisecond})
	if err := deaf(t, node).Send(&pb.Request{Protocol: 1, Add: follow("orders", 1)}); err != nil {
		t.Fatal(err)
	}
	expectClients(t, n, 1)
	expectClients(t, n, 0)
}

// TestClientWithoutRequest ends a stream without requests.
func TestClientWithoutRequest(t *testing.T) {
	_, node := serve(t, newSource(), &readnode.Options{Heartbeat: 50 * time.Millisecond})
	if _, err := deaf(t, node).Recv(); status.Code(err) != codes.Aborted || !strings.Contains(err.Error(), "no request") {
		t.Errorf("got %v", err)
	}
}

// TestCloseDespiteClients closes a node with one client that does not read, and one that has sent nothing. None of their calls
// continues.
func TestCloseDespiteClients(t *testing.T) {
	n, server, node := serveOn(t, large(), nil, grpc.WaitForHandlers(true))
	if err := deaf(t, node).Send(&pb.Request{Protocol: 1, Add: follow("orders", 1)}); err != nil {
		t.Fatal(err)
	}
	deaf(t, node)
	expectClients(t, n, 1)
	time.Sleep(200 * time.Millisecond) // let the sender fill the buffers of the connection
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	expectClients(t, n, 0)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		server.Stop() // waits for the handlers
	}()
	select {
	case <-stopped:
	case <-time.After(20 * time.Second):
		t.Error("a call goes on after Node.Close")
	}
}

// TestUnreadAnswers starts clients that keep sending requests and read no answer. The node stops reading their requests, and
// gives them up.
func TestUnreadAnswers(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	for what, add := range map[string]func(n int) []*pb.Interest{
		"services without a valid name": func(n int) []*pb.Interest { return follow(fmt.Sprint("/", n), 1) },
		"names of a megabyte":           func(int) []*pb.Interest { return follow(long, 1) },
		"one service again and again":   func(n int) []*pb.Interest { return follow("orders", uint64(n)) },
		"epochs of a megabyte":          func(int) []*pb.Interest { return []*pb.Interest{{Service: "orders", Epoch: long}} },
	} {
		t.Run(what, func(t *testing.T) {
			n, node := serve(t, large(), &readnode.Options{Heartbeat: 300 * time.Millisecond, MaxServices: 100})
			c := deaf(t, node)
			before := heap()
			if err := c.Send(&pb.Request{Protocol: 1, Add: follow("orders", 1)}); err != nil {
				t.Fatal(err)
			}
			expectClients(t, n, 1)
			go func() {
				for i := 0; c.Send(&pb.Request{Add: add(i)}) == nil; i++ { // blocks in the end
				}
			}()
			for began := time.Now(); n.Clients() > 0; time.Sleep(100 * time.Millisecond) {
				if grown := heap() - before; grown > 100 {
					t.Fatalf("the heap has grown by %d MiB", grown)
				}
				if time.Since(began) > 20*time.Second {
					t.Fatal("the client is served on and on")
				}
			}
		})
	}
}

// heap returns the live heap in MiB.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc >> 20)
}

// TestLongTexts bounds the size of the registry's texts in frames.
func TestLongTexts(t *testing.T) {
	s := newSource()
	long := strings.Repeat("x", 1<<20)
	_, node := serve(t, s, nil)
	spoilt := put("orders", long+"b")
	spoilt.Kind, spoilt.Err = driver.EventInvalid, fmt.Errorf("state %q", long)
	s.send("orders", resync, put("orders", long+"a"), spoilt, synced)
	c := open(t, node, &pb.Request{Protocol: 1, Add: follow("orders", 1)})
	size := 0
	for text := ""; !strings.Contains(text, "snapshot"); size += len(text) {
		text = c.next()
	}
	if size > 2000 {
		t.Errorf("frames of %d bytes", size)
	}
}
