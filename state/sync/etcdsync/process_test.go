package etcdsync_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/etcdkv"
	"github.com/go-os/go-os/state/sync"
	"github.com/go-os/go-os/state/sync/etcdsync"
)

// childOf and childRole are the environment variables that give a child process the address of its etcd and its role.
const (
	childOf   = "ETCDSYNC_TEST_ENDPOINT"
	childRole = "ETCDSYNC_TEST_ROLE"
)

const processTTL = 2 * time.Second

func TestMain(m *testing.M) {
	if endpoint := os.Getenv(childOf); endpoint != "" {
		if err := act(endpoint, os.Getenv(childRole)); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(testenv.Run(m))
}

// act runs the role of a child process.
func act(endpoint, role string) error {
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, Logger: zap.NewNop()})
	if err != nil {
		return err
	}
	session := sync.New(etcdsync.New(client, nil), &sync.Options{TTL: processTTL})
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // the parent ends it long before
	defer cancel()
	if role == "candidate" {
		return session.Election("e").Do(ctx, nil, func(ctx context.Context, g *sync.Grant) error {
			fmt.Println("leads", g.Token())
			<-ctx.Done()
			return ctx.Err()
		})
	}
	g, err := session.Mutex("m").Lock(ctx)
	if err != nil {
		return err
	}
	fmt.Println("locked", g.Token())
	for g.Context().Err() == nil {
		fmt.Println("acts")
		time.Sleep(time.Millisecond)
	}
	fmt.Println("over", context.Cause(g.Context()))
	err = sync.NewFence(kv.New(etcdkv.New(client, nil), nil), nil).Put(ctx, g.Token(), "register", []byte("old"))
	fmt.Println("wrote", errors.Is(err, sync.ErrFenced), err)
	return nil
}

// child is a running copy of the test binary.
type child struct {
	*exec.Cmd
	lines chan string
}

func spawn(t *testing.T, endpoint, role string) *child {
	t.Helper()
	c := &child{Cmd: exec.Command(os.Args[0]), lines: make(chan string, 1<<16)}
	c.Env = append(os.Environ(), childOf+"="+endpoint, childRole+"="+role)
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(c.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			c.lines <- s.Text()
		}
	}()
	t.Cleanup(func() {
		_ = c.Process.Kill()
		<-done
		_ = c.Wait()
	})
	return c
}

// says returns the next line that begins with word, and the number of lines before it.
func (c *child) says(t *testing.T, word string) (line string, others int) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		select {
		case line, ok := <-c.lines:
			switch {
			case !ok:
				t.Fatalf("the process ended without saying %q", word)
			case strings.HasPrefix(line, word):
				return line, others
			case strings.HasPrefix(line, "error"):
				t.Fatal(line)
			}
			others++
		case <-deadline:
			t.Fatalf("the process did not say %q", word)
		}
	}
}

// TestKilledLeader repeatedly kills the leading process. Another one leads after its TTL.
func TestKilledLeader(t *testing.T) {
	t.Parallel()
	endpoint := testenv.Etcd(t).Endpoint()
	leader := spawn(t, endpoint, "candidate")
	leader.says(t, "leads")
	for round := range 3 {
		next := spawn(t, endpoint, "candidate")
		time.Sleep(500 * time.Millisecond) // time to join the queue, and for the leader to renew
		if err := leader.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		killed := time.Now()
		line, _ := next.says(t, "leads")
		took := time.Since(killed)
		t.Logf("round %d: %s, %s after the leader was killed", round, line, took.Round(time.Millisecond))
		if most := processTTL + 2*time.Second; took > most {
			t.Errorf("round %d: another leads after %s, want %s at most", round, took, most)
		}
		leader = next
	}
}

// TestStoppedHolder stops a process that holds a lock until another process has it. When it resumes, it detects the loss, and its write
// is refused.
func TestStoppedHolder(t *testing.T) {
	t.Parallel()
	endpoint := testenv.Etcd(t).Endpoint()
	holder := spawn(t, endpoint, "holder")
	holder.says(t, "locked")
	holder.says(t, "acts")
	if err := holder.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Skipf("a process cannot be stopped here: %v", err)
	}
	client := dial(t, endpoint)
	defer client.Close()
	session := sync.New(etcdsync.New(client, nil), &sync.Options{TTL: processTTL})
	defer session.Close()
	g, err := session.Mutex("m").Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	registers := sync.NewFence(kv.New(etcdkv.New(client, nil), nil), nil)
	if err := registers.Put(t.Context(), g.Token(), "register", []byte("new")); err != nil {
		t.Fatal(err)
	}
	for len(holder.lines) > 0 { // discard its earlier lines
		<-holder.lines
	}
	if err := holder.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	// The process may have been stopped between its check and its write. The fence exists for that one write.
	if line, acts := holder.says(t, "over"); acts > 1 {
		t.Errorf("%q, after it has acted %d times", line, acts)
	}
	if line, _ := holder.says(t, "wrote"); !strings.HasPrefix(line, "wrote true") {
		t.Errorf("its write was not refused: %s", line)
	}
	value, _, err := registers.Get(t.Context(), "register")
	if err != nil || string(value) != "new" {
		t.Errorf("the register holds %q, %v", value, err)
	}
}
