package boltkv_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/go-os/go-os/state/kv/boltkv"
	"github.com/go-os/go-os/state/kv/driver"
)

// childFile is the environment variable that names the file which a child process writes to until it is killed.
const childFile = "BOLTKV_TEST_CHILD_FILE"

func TestMain(m *testing.M) {
	if path := os.Getenv(childFile); path != "" {
		os.Exit(write(path))
	}
	goleak.VerifyTestMain(m)
}

// writers is the number of concurrent writers of the child, so that transactions hold several writes.
const writers = 4

// write puts increasing numbers forever, and prints each once it is acknowledged.
func write(path string) int {
	s, err := boltkv.Open(path, nil)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	for id := range writers {
		go func() {
			for n := id; ; n += writers {
				key := fmt.Sprintf("n/%d", n)
				if _, err := s.Put(context.Background(), driver.PutRequest{Key: key, Value: []byte(strconv.Itoa(n * n))}); err != nil {
					fmt.Fprintln(os.Stderr, err)
					os.Exit(1)
				}
				fmt.Println(n)
			}
		}()
	}
	<-time.After(time.Minute) // the parent kills it long before
	return 1
}

// TestKill repeatedly kills a process during its writes with SIGKILL, and checks that every acknowledged write is in the file.
func TestKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kv.db")
	acknowledged := map[int]bool{}
	var last driver.Version
	for round := range 3 {
		for _, n := range runAndKill(t, path, 40+round*17) {
			acknowledged[n] = true
		}
		s, err := boltkv.Open(path, nil)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		for n := range acknowledged {
			it, err := s.Get(t.Context(), fmt.Sprintf("n/%d", n))
			if err != nil || string(it.Value) != strconv.Itoa(n*n) {
				t.Errorf("round %d: %d was acknowledged, and is %q, error %v", round, n, it.Value, err)
			}
		}
		version, err := s.Put(t.Context(), driver.PutRequest{Key: "probe"})
		if err != nil || version <= last {
			t.Errorf("round %d: version %d after %d, error %v", round, version, last, err)
		}
		last = version
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// runAndKill returns the numbers that the child acknowledged until it was killed.
func runAndKill(t *testing.T, path string, after int) (acknowledged []int) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childFile+"="+path)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		n, err := strconv.Atoi(lines.Text())
		if err != nil {
			break // cut off by the kill
		}
		acknowledged = append(acknowledged, n)
		if len(acknowledged) == after {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != -1 {
		t.Fatalf("the child ended by itself: %v", err)
	}
	if len(acknowledged) < after {
		t.Fatalf("the child acknowledged %d writes, want %d", len(acknowledged), after)
	}
	return acknowledged
}

// TestTTLWhileDown lets an item expire while the file is closed.
func TestTTLWhileDown(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kv.db")
	s := open(t, path)
	written := time.Now()
	for key, ttl := range map[string]time.Duration{"short": 50 * time.Millisecond, "long": time.Hour} {
		if _, err := s.Put(t.Context(), driver.PutRequest{Key: key, TTL: ttl}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	<-time.After(time.Until(written.Add(100 * time.Millisecond)))
	s = open(t, path)
	defer s.Close()
	if _, err := s.Get(t.Context(), "short"); !errors.Is(err, driver.ErrNotFound) {
		t.Errorf("Get of what expired while the file was closed: %v", err)
	}
	it, err := s.Get(t.Context(), "long")
	if err != nil || it.TTL > time.Hour-50*time.Millisecond || it.TTL < time.Minute {
		t.Errorf("an item of an hour has %s left, error %v", it.TTL, err)
	}
}

// TestInUse opens a file twice. The second open returns an error.
func TestInUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kv.db")
	first := open(t, path)
	if _, err := boltkv.Open(path, &boltkv.Options{LockTimeout: 100 * time.Millisecond}); err == nil {
		t.Error("a file that is in use opens a second time")
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	again := open(t, path)
	if err := again.Close(); err != nil {
		t.Error(err)
	}
	for name, content := range map[string]string{"empty folder": "", "garbage": "this is no database, though long enough to be looked at"} {
		path := t.TempDir()
		if content != "" {
			path = filepath.Join(path, "kv.db")
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := boltkv.Open(path, nil); err == nil {
			t.Errorf("%s opens as a file of boltkv", name)
		}
	}
}
