package bench

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.uber.org/zap"

	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/state/sync"
	"github.com/go-os/go-os/state/sync/etcdsync"
	"github.com/go-os/go-os/telemetry"
)

// Lock is an uncontended lock, locked and unlocked: by concurrency.Mutex of etcd's client, and by etcdsync with metrics and traces on. The
// median may be a tenth higher.
var Lock = Pair{Name: "etcdsync, lock and unlock", Most: 1.10, Block: 100, Setup: etcdLock}

func etcdLock(t testing.TB, way way) (raw, ours func() error) {
	client := etcdClient(t, way)
	session, err := concurrency.NewSession(client, concurrency.WithTTL(15))
	if err != nil {
		t.Fatal(err)
	}
	theirs := concurrency.NewMutex(session, "bench")
	mine := sync.New(etcdsync.New(client, nil), &sync.Options{Telemetry: telemetryOn})
	t.Cleanup(func() { _ = mine.Close(); _ = session.Close() })
	mutex, ctx, next := mine.Mutex("bench"), requests(t), requests(t)
	raw = func() error {
		if err := theirs.Lock(ctx()); err != nil {
			return err
		}
		return theirs.Unlock(ctx())
	}
	ours = func() error {
		g, err := mutex.Lock(next())
		if err != nil {
			return err
		}
		return g.Release(next())
	}
	return raw, ours
}

// Middle is the ratio of the medians, or zero if nothing was measured.
func (c Compared) Middle() float64 {
	if c.Raw == 0 {
		return 0
	}
	return float64(c.Ours) / float64(c.Raw)
}

// FailoverTTL is the TTL of the candidates of Failover.
const FailoverTTL = 2 * time.Second

// candidateOf is the environment variable that gives a copy of this program the address of the etcd for its campaign.
const candidateOf = "GOOS_BENCH_CANDIDATE"

// Candidate campaigns until it is killed, if this process was started for that. A program that calls Failover must call Candidate first.
func Candidate() {
	endpoint := os.Getenv(candidateOf)
	if endpoint == "" {
		return
	}
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, Logger: zap.NewNop()})
	if err == nil {
		session := sync.New(etcdsync.New(client, nil), &sync.Options{TTL: FailoverTTL, Telemetry: telemetry.Off()})
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // it is killed long before
		defer cancel()
		err = session.Election("failover").Do(ctx, nil, func(ctx context.Context, _ *sync.Grant) error {
			fmt.Println("leads")
			<-ctx.Done()
			return ctx.Err()
		})
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// Failover repeatedly kills the leading process (SIGKILL), and returns how long it took until another one led.
func Failover(t testing.TB, rounds int) (took []time.Duration) {
	endpoint := testenv.Etcd(t).Endpoint()
	leader := startCandidate(t, endpoint)
	leader.leads(t)
	for range rounds {
		next := startCandidate(t, endpoint)
		time.Sleep(time.Second) // so that it waits, and at no fixed time after a renewal by the leader
		if err := leader.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		killed := time.Now()
		next.leads(t)
		took = append(took, time.Since(killed))
		leader = next
	}
	slices.Sort(took)
	return took
}

type candidate struct {
	*exec.Cmd
	out *bufio.Reader
}

func startCandidate(t testing.TB, endpoint string) *candidate {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := &candidate{Cmd: exec.Command(program)}
	c.Env = append(os.Environ(), candidateOf+"="+endpoint)
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	if err == nil {
		c.out = bufio.NewReader(out)
		err = c.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	return c
}

// leads returns once the candidate reports that it leads.
func (c *candidate) leads(t testing.TB) {
	said := make(chan error, 1)
	go func() {
		line, err := c.out.ReadString('\n')
		if err == nil && strings.TrimSpace(line) != "leads" {
			err = fmt.Errorf("it said %q", line)
		}
		said <- err
	}()
	select {
	case err := <-said:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("no other candidate leads after 30 s")
	}
}
