package boltkv_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/go-os/go-os/state/kv/boltkv"
	"github.com/go-os/go-os/state/kv/driver"
	"github.com/go-os/go-os/state/kv/kvtest"
)

func open(t testing.TB, path string) *boltkv.Driver {
	t.Helper()
	s, err := boltkv.Open(path, &boltkv.Options{MaxValue: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func backend() kvtest.Backend {
	return kvtest.Backend{
		Record:    "testdata/contract.json",
		Open:      func(t testing.TB) driver.Driver { return open(t, filepath.Join(t.TempDir(), "kv.db")) },
		Defaults:  defaults,
		FakeClock: true,
		Compact:   func(_ testing.TB, s driver.Driver) { s.(*boltkv.Driver).Compact() },
		Restart:   restart,
	}
}

// defaults returns the capabilities of a store without options.
func defaults(t testing.TB) driver.Capabilities {
	s, err := boltkv.Open(filepath.Join(t.TempDir(), "kv.db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	return s.Capabilities()
}

// restart opens a copy of the file while the old store still has it open, as a killed process would leave it.
func restart(t testing.TB, old driver.Driver) driver.Driver {
	t.Helper()
	data, err := os.ReadFile(old.(*boltkv.Driver).Path())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "left.db")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := old.Close(); err != nil {
		t.Error(err)
	}
	return open(t, path)
}

func TestContract(t *testing.T) { kvtest.Run(t, backend()) }

func FuzzKeys(f *testing.F) { kvtest.Fuzz(f, backend()) }
