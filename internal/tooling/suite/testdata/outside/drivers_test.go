package outside

import (
	"testing"

	"github.com/go-os/go-os/control/config/configtest"
	"github.com/go-os/go-os/state/kv/driver"
	"github.com/go-os/go-os/state/kv/kvtest"
)

func TestStore(t *testing.T) {
	kvtest.Run(t, kvtest.Backend{Open: func(testing.TB) driver.Driver { return New() }, FakeClock: true, Record: "testdata/store.json"})
}

func TestSource(t *testing.T) {
	configtest.Run(t, configtest.Backend{FakeClock: true, Record: "testdata/source.json", Open: func(testing.TB) configtest.Fixture {
		s := new(Source)
		s.Write("a: 1\n")
		return configtest.Fixture{Source: s, Write: s.Write}
	}})
}
