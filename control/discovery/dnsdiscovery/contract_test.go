package dnsdiscovery_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-os/go-os/control/discovery/discoverytest"
	"github.com/go-os/go-os/control/discovery/dnsdiscovery"
	"github.com/go-os/go-os/control/discovery/driver"
	"github.com/go-os/go-os/internal/tooling/testenv"
)

// short is a Registry with the IDs of the suite: "a" for the target "a.<service>.example:9000".
type short struct{ *dnsdiscovery.Registry }

// Watch implements driver.Reader.
func (s short) Watch(ctx context.Context, service string, emit func(driver.Event) error) error {
	return s.Registry.Watch(ctx, service, func(e driver.Event) error {
		e.Record.ID, _, _ = strings.Cut(e.Record.ID, ".")
		return emit(e)
	})
}

// zone is the zone of a DNS server, with an SRV record for each record of the suite.
type zone struct {
	dns *testenv.DNSHandle

	mu      sync.Mutex
	records map[string]string // by service and ID
}

// change changes the records and returns when the server has them.
func (z *zone) change(service, id, record string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.records[service+"/"+id] = record
	z.dns.SetZone(strings.Join(slices.Collect(maps.Values(z.records)), "\n"))
}

// TestContract runs the suite on Knot DNS. Of a record, DNS has the ID, an address and the weight.
func TestContract(t *testing.T) {
	z := &zone{dns: testenv.DNS(t, "example.", ""), records: map[string]string{}}
	discoverytest.Run(t, discoverytest.Backend{
		Record:      "testdata/contract.json",
		Without:     discoverytest.Goodbyes | discoverytest.Incarnations | discoverytest.Names,
		Polls:       1 / dnsdiscovery.DefaultMinTTL.Seconds(),
		Kill:        func(testing.TB) { z.dns.Kill() },
		Revive:      func(testing.TB) { z.dns.Restart() },
		Pause:       func(testing.TB) { z.dns.Pause() },
		Resume:      func(testing.TB) { z.dns.Resume() },
		EngineFuncs: testenv.Goroutines(),
		Shown: func(r driver.Record) driver.Record {
			weight := min(r.Weight, 65535)
			shown := driver.Record{Instance: driver.Instance{Service: r.Service, ID: r.ID, Weight: max(weight, 1)}}
			shown.Addresses = map[string]string{"grpc": "10.0.0.7:9000"}
			shown.Labels = map[string]string{dnsdiscovery.LabelPriority: "0", dnsdiscovery.LabelWeight: fmt.Sprint(weight)}
			return shown
		},
		Begin: func(testing.TB) discoverytest.Registry {
			return discoverytest.Registry{
				Reader: func(t testing.TB) driver.Reader {
					o := options(srv, z.dns.Addr(0))
					o.Keep = time.Second
					registry, err := dnsdiscovery.New(o)
					if err != nil {
						t.Fatal(err)
					}
					return short{registry}
				},
				Write: func(_ testing.TB, r driver.Record) {
					const format = "_grpc._tcp.%s SRV 0 %d 9000 %s.%[1]s\n%[3]s.%[1]s A 10.0.0.7"
					z.change(r.Service, r.ID, fmt.Sprintf(format, r.Service, min(r.Weight, 65535), r.ID))
				},
				Remove: func(_ testing.TB, service, id string) { z.change(service, id, "") },
				Spoil: func(_ testing.TB, service, id string) string {
					z.change(service, id, fmt.Sprintf("_grpc._tcp.%s SRV 0 1 9000 %s.%[1]s", service, id))
					return id
				},
			}
		},
	})
}
