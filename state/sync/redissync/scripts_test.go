package redissync_test

import (
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/state/sync"
	"github.com/go-os/go-os/state/sync/redissync"
)

// texts returns the number of scripts that were sent to Redis as text.
func texts(t *testing.T, client rueidis.Client) int {
	t.Helper()
	said, err := client.Do(t.Context(), client.B().Info().Section("commandstats").Build()).ToString()
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`cmdstat_eval:calls=(\d+)`).FindStringSubmatch(said)
	if found == nil {
		return 0
	}
	n, err := strconv.Atoi(found[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestScriptsAreSentOnce takes locks on a server that has no script cached, and on one that loses its scripts, as by a restart.
func TestScriptsAreSentOnce(t *testing.T) {
	engine := testenv.Redis(t)
	client := dial(t, engine.Addr(0))
	defer client.Close()
	s := sync.New(redissync.New(client, nil), &sync.Options{TTL: 3 * time.Second})
	defer func() { _ = s.Close() }()
	held, err := s.Mutex("held").Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	const rounds, known = 50, 5 // scripts
	lock := func() {
		t.Helper()
		g, err := s.Mutex("m").Lock(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := g.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for range rounds {
		lock()
	}
	if n := texts(t, client); n == 0 || n > known {
		t.Errorf("%d scripts were sent as text, want one of each at most", n)
	}
	for range rounds {
		if err := client.Do(t.Context(), client.B().ScriptFlush().Build()).Error(); err != nil {
			t.Fatal(err)
		}
		lock()
	}
	if n := texts(t, client); n < 2*rounds {
		t.Errorf("%d scripts were sent as text, want %d at least", n, 2*rounds)
	}
	if err := held.Release(t.Context()); err != nil {
		t.Errorf("Release: %v", err)
	}
}
