package peerkv_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/olric-data/olric"
	"github.com/olric-data/olric/config"

	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/state/kv/driver"
	"github.com/go-os/go-os/state/kv/kvtest"
	"github.com/go-os/go-os/state/kv/peerkv"
)

const loopback = "127.0.0.1"

// node is one service's part of the cluster.
type node struct {
	*olric.Olric
	name   string  // its address
	gossip string  // its gossip address
	others []*node // that it joined
	ended  chan error
}

// freePort returns an unused port.
func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(loopback, "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// join starts a node and joins it to the others.
func join(t testing.TB, others ...*node) *node {
	t.Helper()
	settings := config.New("local")
	settings.BindAddr, settings.BindPort = loopback, freePort(t)
	settings.MemberlistConfig.BindAddr, settings.MemberlistConfig.BindPort = loopback, freePort(t)
	settings.MemberlistConfig.AdvertiseAddr = loopback
	settings.MemberlistConfig.AdvertisePort = settings.MemberlistConfig.BindPort
	settings.LogOutput = io.Discard
	settings.ReplicaCount, settings.ReadRepair = 2, true
	for _, o := range others {
		settings.Peers = append(settings.Peers, o.gossip)
	}
	ready := make(chan struct{})
	settings.Started = func() { close(ready) }
	db, err := olric.New(settings)
	if err != nil {
		t.Fatal(err)
	}
	n := &node{Olric: db, others: others, ended: make(chan error, 1)}
	n.name = net.JoinHostPort(loopback, strconv.Itoa(settings.BindPort))
	n.gossip = net.JoinHostPort(loopback, strconv.Itoa(settings.MemberlistConfig.BindPort))
	go func() { n.ended <- db.Start() }()
	select {
	case <-ready:
	case err := <-n.ended:
		t.Fatalf("a node ended instead of starting: %v", err)
	case <-time.After(30 * time.Second):
		t.Fatal("a node did not start within 30 s")
	}
	t.Cleanup(func() { n.leave(t) })
	return n
}

// leave shuts the node down if it still runs.
func (n *node) leave(t testing.TB) {
	if n.ended == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := n.Shutdown(ctx); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	<-n.ended
	n.ended = nil
	for _, other := range n.others {
		other.forgets(t, n.name)
	}
}

// forgets waits until the node has the routing table without another one. olric has a data race if a node shuts down while it receives one.
func (n *node) forgets(t testing.TB, name string) {
	if n.ended == nil {
		return
	}
	testenv.Eventually(t, 20*time.Second, "the routing table without a node that has left", func() error {
		table, err := n.NewEmbeddedClient().RoutingTable(context.Background())
		for _, route := range table {
			if slices.Contains(route.PrimaryOwners, name) || slices.Contains(route.ReplicaOwners, name) {
				return fmt.Errorf("%s has %s in its routing table", n.name, name)
			}
		}
		return err
	})
}

// items returns the node's view of the map.
func (n *node) items(t testing.TB, name string) olric.DMap {
	t.Helper()
	items, err := n.NewEmbeddedClient().NewDMap(name)
	if err != nil {
		t.Fatal(err)
	}
	return items
}

// cluster starts three nodes that know each other.
func cluster(t testing.TB) []*node {
	nodes := []*node{join(t)}
	nodes = append(nodes, join(t, nodes[0]))
	nodes = append(nodes, join(t, nodes...))
	see(t, nodes, len(nodes))
	return nodes
}

// see waits until each node sees this number of members.
func see(t testing.TB, nodes []*node, members int) {
	t.Helper()
	for _, n := range nodes {
		testenv.Eventually(t, 20*time.Second, "the nodes to find each other", func() error {
			found, err := n.NewEmbeddedClient().Members(t.Context())
			if err == nil && len(found) != members {
				err = fmt.Errorf("a node sees %d members", len(found))
			}
			return err
		})
	}
}

func backend(t testing.TB) kvtest.Backend {
	nodes := cluster(t)
	maps := 0
	return kvtest.Backend{
		Record:      "testdata/contract.json",
		Alone:       true, // in one map with many writes, olric loses a rewritten item now and then
		EngineFuncs: []string{"github.com/olric-data/olric/internal/dmap.(*Service).evictKeysAtBackground.func1", "github.com/tidwall/redcon.handle"},
		Open: func(t testing.TB) driver.Driver {
			maps++
			return peerkv.New(nodes[maps%len(nodes)].items(t, fmt.Sprint("suite", maps)), nil)
		},
	}
}

func TestContract(t *testing.T) { kvtest.Run(t, backend(t)) }

func FuzzKeys(f *testing.F) {
	b := backend(f)
	b.Record = ""
	kvtest.Fuzz(f, b)
}

// TestEveryNodeSeesEveryItem writes through one node and reads through the others.
func TestEveryNodeSeesEveryItem(t *testing.T) {
	nodes := cluster(t)
	var stores []*peerkv.Driver
	for _, n := range nodes {
		stores = append(stores, peerkv.New(n.items(t, "shared"), nil))
	}
	for i := range 300 {
		key := fmt.Sprint("k", i)
		version, err := stores[i%3].Put(t.Context(), driver.PutRequest{Key: key, Value: []byte(key)})
		if err != nil {
			t.Fatal(err)
		}
		for n, s := range stores {
			if it, err := s.Get(t.Context(), key); err != nil || string(it.Value) != key || it.Version != version {
				t.Fatalf("node %d has %q: %+v, %v", n, key, it, err)
			}
		}
	}
	for _, wish := range []driver.Ability{driver.CAS, driver.Watch, driver.List, driver.Durable} {
		if stores[0].Capabilities().Has(wish) {
			t.Errorf("%s is declared", wish)
		}
	}
}

// TestWhatIsLost adds and removes nodes. The package promises that no answer is wrong: an item is current or not found. The number of
// lost items is logged.
func TestWhatIsLost(t *testing.T) {
	const items = 2000
	nodes := cluster(t)
	s := peerkv.New(nodes[0].items(t, "lossy"), nil)
	for i := range items {
		key := fmt.Sprint("k", i)
		if _, err := s.Put(t.Context(), driver.PutRequest{Key: key, Value: []byte(key)}); err != nil {
			t.Fatal(err)
		}
	}
	census := func(after string) {
		lost := 0
		for i := range items {
			key := fmt.Sprint("k", i)
			it, err := s.Get(t.Context(), key)
			switch {
			case errors.Is(err, driver.ErrNotFound), errors.Is(err, driver.ErrUnavailable):
				lost++
			case err != nil:
				t.Fatalf("after %s Get(%q): %v", after, key, err)
			case string(it.Value) != key:
				t.Fatalf("after %s Get(%q) is %q", after, key, it.Value)
			}
		}
		t.Logf("after %s %d of %d items are not found", after, lost, items)
	}
	nodes[2].leave(t)
	see(t, nodes[:2], 2)
	census("a node has left")
	nodes = append(nodes[:2], join(t, nodes[:2]...))
	see(t, nodes, 3)
	census("another has joined")
	nodes[1].leave(t)
	see(t, []*node{nodes[0], nodes[2]}, 2)
	census("one of the first has left")
}
