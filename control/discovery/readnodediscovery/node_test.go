package readnodediscovery_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/go-os/go-os/control/discovery/driver"
	"github.com/go-os/go-os/control/discovery/kvdiscovery"
	"github.com/go-os/go-os/control/discovery/readnode"
	"github.com/go-os/go-os/control/discovery/readnodediscovery"
	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/etcdkv"
	"github.com/go-os/go-os/telemetry"
)

// childVariable makes the test binary a read node. Its value is the address to listen on, the endpoint of
// etcd, and how often heartbeats are sent.
const childVariable = "READNODE_CHILD"

const heartbeat = 500 * time.Millisecond

func TestMain(m *testing.M) {
	if spec := os.Getenv(childVariable); spec != "" {
		if err := runChild(spec); err != nil {
			fmt.Fprintln(os.Stderr, "read node:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(testenv.Run(m))
}

// runChild serves a read node until standard input ends.
func runChild(spec string) error {
	var address, etcd, every string
	if _, err := fmt.Sscan(spec, &address, &etcd, &every); err != nil {
		return err
	}
	beat, err := time.ParseDuration(every)
	if err != nil {
		return err
	}
	registry, closeRegistry, err := openRegistry([]string{etcd})
	if err != nil {
		return err
	}
	defer closeRegistry()
	node, err := readnode.New(registry, &readnode.Options{Heartbeat: beat, MaxBackoff: time.Second, Telemetry: telemetry.Off()})
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	node.Register(server)
	go func() {
		fmt.Println("ready")
		for in := bufio.NewScanner(os.Stdin); in.Scan(); { // each line requests the status
			status(node)
		}
		_ = node.Close()
		server.Stop()
	}()
	return server.Serve(listener)
}

func newEtcdClient(endpoints ...string) (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{
		Endpoints: endpoints, Logger: zap.NewNop(), DialTimeout: 5 * time.Second, DialKeepAliveTime: 5 * time.Second, DialKeepAliveTimeout: 2 * time.Second,
	})
}

func etcdClient(t testing.TB, endpoints ...string) *clientv3.Client {
	t.Helper()
	client, err := newEtcdClient(endpoints...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// openRegistry returns the registry in an etcd.
func openRegistry(endpoints []string) (*kvdiscovery.Registry, func(), error) {
	client, err := newEtcdClient(endpoints...)
	if err != nil {
		return nil, nil, err
	}
	store := kv.New(etcdkv.New(client, nil), &kv.Options{Telemetry: telemetry.Off()})
	registry, err := kvdiscovery.New(store, nil)
	return registry, func() { _, _ = store.Close(), client.Close() }, err
}

func openEtcd(t testing.TB, endpoints ...string) *kvdiscovery.Registry {
	t.Helper()
	registry, closeRegistry, err := openRegistry(endpoints)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(closeRegistry)
	return registry
}

// child is a read node in a process of its own.
type child struct {
	t       testing.TB
	address string
	etcd    string
	beat    time.Duration
	cmd     *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Scanner
}

// startChild starts a read node on a free port.
func startChild(t testing.TB, etcd string, beat time.Duration) *child {
	t.Helper()
	c := &child{t: t, address: freeAddress(t), etcd: etcd, beat: beat}
	c.start()
	t.Cleanup(c.kill)
	return c
}

func freeAddress(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

func (c *child) start() {
	c.t.Helper()
	c.cmd = exec.Command(os.Args[0])
	c.cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s %s", childVariable, c.address, c.etcd, c.beat))
	c.cmd.Stderr = os.Stderr
	in, err := c.cmd.StdinPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.in, c.out = in, bufio.NewScanner(out)
	if !c.out.Scan() || c.out.Text() != "ready" {
		c.t.Fatalf("the read node says %q: %v", c.out.Text(), c.out.Err())
	}
}

// kill ends the process, unless it has ended.
func (c *child) kill() {
	if c.cmd.ProcessState == nil {
		_ = c.cmd.Process.Kill()
		_ = c.cmd.Wait() // reports the signal
	}
}

// dial returns a connection to an address, which reconnects quickly.
func dial(t testing.TB, address string) *grpc.ClientConn {
	t.Helper()
	conn, err := connection(address)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func connection(address string) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithConnectParams(
		grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second}, MinConnectTimeout: time.Second}))
}

// client is a Reader that closes its connections.
type client struct {
	*readnodediscovery.Reader
	conns []*grpc.ClientConn
}

func (c *client) Close() error {
	err := c.Reader.Close()
	for _, conn := range c.conns {
		_ = conn.Close()
	}
	return err
}

// newClient returns a client of read nodes, which the caller closes.
func newClient(t testing.TB, opts *readnodediscovery.Options, addresses ...string) *client {
	t.Helper()
	c := &client{}
	var nodes []grpc.ClientConnInterface
	for _, address := range addresses {
		conn := dial(t, address)
		c.conns, nodes = append(c.conns, conn), append(nodes, conn)
	}
	reader, err := readnodediscovery.New(nodes, opts)
	if err != nil {
		t.Fatal(err)
	}
	c.Reader = reader
	return c
}

// local is a read node in this process.
type local struct {
	t       testing.TB
	node    *readnode.Node
	server  *grpc.Server
	address string
}

// serve serves a read node on a reader, which it closes.
func serve(t testing.TB, reader driver.Reader, opts *readnode.Options) *local {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &local{t: t, address: listener.Addr().String()}
	l.serve(listener, reader, opts)
	return l
}

func (l *local) serve(listener net.Listener, reader driver.Reader, opts *readnode.Options) {
	l.t.Helper()
	if opts == nil {
		opts = &readnode.Options{Telemetry: telemetry.Off()}
	}
	node, err := readnode.New(reader, opts)
	if err != nil {
		l.t.Fatal(err)
	}
	server := grpc.NewServer()
	node.Register(server)
	go func() { _ = server.Serve(listener) }()
	l.node, l.server = node, server
	l.t.Cleanup(func() {
		if err := node.Close(); err != nil {
			l.t.Error(err)
		}
		server.Stop()
	})
}

// status prints the counters of a read node on one line.
func status(n *readnode.Node) {
	clients, check := n.Clients(), n.Check(context.Background())
	fmt.Printf("clients=%d services=%d heap=%d synced=%t\n", clients, len(n.Status()), testenv.Heap(), check == nil)
}
