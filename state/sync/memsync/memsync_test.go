package memsync_test

import (
	"testing"

	"github.com/go-os/go-os/state/sync/driver"
	"github.com/go-os/go-os/state/sync/memsync"
	"github.com/go-os/go-os/state/sync/synctest"
)

func TestContract(t *testing.T) {
	synctest.Run(t, synctest.Backend{
		Begin: func(testing.TB) synctest.Open {
			space := memsync.NewSpace()
			return func(testing.TB) driver.Driver { return memsync.New(&memsync.Options{Space: space}) }
		},
		FakeClock: true,
		Record:    "testdata/contract.json",
	})
}
