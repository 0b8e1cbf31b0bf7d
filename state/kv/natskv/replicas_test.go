package natskv

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/state/kv/driver"
)

// TestBucketGetsReplicas adds replicas to a bucket that a store reads by direct get. The store reads from the leader once it has looked
// up the bucket again, and reports a missing bucket after its removal.
func TestBucketGetsReplicas(t *testing.T) {
	t.Parallel()
	conn, err := nats.Connect(strings.Join(testenv.NATSCluster(t, 3).URLs(), ","))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	config := Config("b")
	config.Replicas = 1
	if _, err := js.CreateKeyValue(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	s := New(js, "b", nil)
	single := func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.opened.single
	}
	version, err := s.Put(t.Context(), driver.PutRequest{Key: "k", Value: []byte("1")})
	if err != nil {
		t.Fatal(err)
	}
	reads := func(wantSingle bool) {
		t.Helper()
		got, err := s.Get(t.Context(), "k")
		if err != nil || got.Version != version || string(got.Value) != "1" {
			t.Errorf("Get: %v, %v", got, err)
		}
		if single() != wantSingle {
			t.Errorf("the store takes the bucket for one on one server: %t, want %t", single(), wantSingle)
		}
	}
	reads(true)

	config.Replicas = 3
	testenv.Eventually(t, time.Minute, "the bucket gets replicas", func() error {
		_, err := js.UpdateKeyValue(t.Context(), config)
		return err
	})
	reads(true)
	s.mu.Lock()
	s.looked = s.looked.Add(-lookEvery)
	s.mu.Unlock()
	reads(false)

	if err := js.DeleteKeyValue(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), "k"); !errors.Is(err, driver.ErrUnavailable) || !strings.Contains(err.Error(), `no bucket "b"`) {
		t.Errorf("Get without a bucket: %v", err)
	}
}

// TestSingleBucketIsRemoved removes a bucket that is read by direct get, where no server answers afterwards. The error names the bucket.
func TestSingleBucketIsRemoved(t *testing.T) {
	t.Parallel()
	conn, err := nats.Connect(testenv.NATS(t).URL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateKeyValue(t.Context(), Config("b")); err != nil {
		t.Fatal(err)
	}
	s := New(js, "b", nil)
	if _, err := s.Get(t.Context(), "k"); !errors.Is(err, driver.ErrNotFound) {
		t.Fatalf("Get: %v", err)
	}
	if err := js.DeleteKeyValue(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), "k"); !errors.Is(err, driver.ErrUnavailable) || !strings.Contains(err.Error(), `no bucket "b"`) {
		t.Errorf("Get without a bucket: %v", err)
	}
}
