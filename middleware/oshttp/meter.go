package oshttp

import (
	"cmp"
	"reflect"
	"runtime"
	"sync"
	"weak"

	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
)

// serverMeter is the state that all handlers on one meter share: instruments, attribute sets, and the registration of a
// callback, which a meter never removes. Some routers create their middleware anew for each request (gorilla/mux,
// echo.WrapMiddleware). A registration for each handler would be a leak that also slows every collection.
type serverMeter struct {
	meter metric.Meter // as long as it lives, no other meter has its address

	mu      sync.Mutex
	active  *activities
	metrics map[Metrics]*serverMetrics
}

// serverMeters finds the serverMeter of a meter. It is a package variable because independent handlers share a meter. It
// keeps nothing alive: a meter that has callbacks keeps its serverMeter.
var serverMeters = struct {
	mu    sync.Mutex
	known map[uintptr]weak.Pointer[serverMeter] // by the address of the meter
}{known: map[uintptr]weak.Pointer[serverMeter]{}}

// shareMeter returns the serverMeter of a meter. A meter that is not a pointer, such as that of a no-op provider, has
// nothing to share.
func shareMeter(meter metric.Meter) *serverMeter {
	v := reflect.ValueOf(meter)
	if v.Kind() != reflect.Pointer {
		return newServerMeter(meter)
	}
	address := v.Pointer()
	serverMeters.mu.Lock()
	defer serverMeters.mu.Unlock()
	if m := serverMeters.known[address].Value(); m != nil && m.meter == meter {
		return m
	}
	m := newServerMeter(meter)
	serverMeters.known[address] = weak.Make(m)
	runtime.AddCleanup(m, forgetMeter, address)
	return m
}

func newServerMeter(meter metric.Meter) *serverMeter {
	return &serverMeter{meter: meter, metrics: map[Metrics]*serverMetrics{}}
}

// forgetMeter removes the entry of a collected serverMeter, unless another one took its place.
func forgetMeter(address uintptr) {
	serverMeters.mu.Lock()
	defer serverMeters.mu.Unlock()
	if serverMeters.known[address].Value() == nil {
		delete(serverMeters.known, address)
	}
}

// choose returns the chosen instruments.
func (m *serverMeter) choose(chosen Metrics) *serverMetrics {
	chosen = cmp.Or(chosen, DefaultServerMetrics)
	m.mu.Lock()
	defer m.mu.Unlock()
	if known := m.metrics[chosen]; known != nil {
		return known
	}
	s := newServerMetrics(m.meter, chosen)
	_, off := m.meter.(metricnoop.Meter) // a no-op meter needs no counts
	if chosen&MetricActiveRequests != 0 && !off {
		if m.active == nil {
			m.active = watchActivities(m)
		}
		s.active = m.active
	}
	m.metrics[chosen] = s
	return s
}
