package memkv_test

import (
	"testing"

	"github.com/go-os/go-os/state/kv/driver"
	"github.com/go-os/go-os/state/kv/kvtest"
	"github.com/go-os/go-os/state/kv/memkv"
)

func backend() kvtest.Backend {
	return kvtest.Backend{
		Record:    "testdata/contract.json",
		Open:      func(testing.TB) driver.Driver { return memkv.New(&memkv.Options{MaxKey: 1 << 10, MaxValue: 1 << 20}) },
		Defaults:  func(testing.TB) driver.Capabilities { return memkv.New(nil).Capabilities() },
		FakeClock: true,
		Compact:   func(_ testing.TB, s driver.Driver) { s.(*memkv.Driver).Compact() },
	}
}

func TestContract(t *testing.T) { kvtest.Run(t, backend()) }

func FuzzKeys(f *testing.F) { kvtest.Fuzz(f, backend()) }
