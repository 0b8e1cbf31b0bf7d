package sealed_test

import (
	"bytes"
	"testing"

	"github.com/go-os/go-os/state/kv/driver"
	"github.com/go-os/go-os/state/kv/internal/sealed"
)

func FuzzRoundTrip(f *testing.F) {
	f.Add(uint64(1), []byte(nil))
	f.Add(uint64(1<<63-1), []byte("value"))
	f.Fuzz(func(t *testing.T, version uint64, value []byte) {
		gotVersion, got, err := sealed.Open(sealed.Seal(driver.Version(version), value))
		if err != nil || uint64(gotVersion) != version || !bytes.Equal(got, value) || got == nil {
			t.Errorf("version %d and value %x come back as %d, %x, %v", version, value, gotVersion, got, err)
		}
	})
}

func TestOpenRefusesWhatNobodySealed(t *testing.T) {
	for _, stored := range [][]byte{nil, make([]byte, sealed.Overhead-1)} {
		if _, _, err := sealed.Open(stored); err == nil {
			t.Errorf("%x is taken for a sealed value", stored)
		}
	}
}

func TestVersionsAreNeverZeroAndNeverTheSame(t *testing.T) {
	seen := map[driver.Version]bool{0: true}
	for range 10_000 {
		v := sealed.NewVersion()
		if seen[v] {
			t.Fatalf("version %d was given before, or is none", v)
		}
		seen[v] = true
	}
}
