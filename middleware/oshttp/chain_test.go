package oshttp_test

import (
	"context"
	"maps"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/go-os/go-os/control/router"
	"github.com/go-os/go-os/control/router/shed"
	"github.com/go-os/go-os/middleware/oshttp"
)

func allowlist(t *testing.T, names ...string) *router.Allowlist {
	t.Helper()
	list, err := router.NewAllowlist(names...)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestChain checks what the context of a handler has of the caller's headers.
func TestChain(t *testing.T) {
	for _, test := range []struct {
		name     string
		opts     oshttp.HandlerOptions
		header   map[string]string
		labels   map[string]string
		priority shed.Priority
		retries  bool
	}{
		{"nothing", oshttp.HandlerOptions{}, nil, nil, shed.Normal, true},
		{"first attempt", oshttp.HandlerOptions{}, map[string]string{"Goos-Attempt": "1"}, nil, shed.Normal, true},
		{"second attempt", oshttp.HandlerOptions{}, map[string]string{"Goos-Attempt": "2"}, nil, shed.Normal, false},
		{"no number", oshttp.HandlerOptions{}, map[string]string{"Goos-Attempt": "many"}, nil, shed.Normal, true},
		{"priority", oshttp.HandlerOptions{}, map[string]string{shed.PriorityHeader: "critical"}, nil, shed.Critical, true},
		{"unknown priority", oshttp.HandlerOptions{}, map[string]string{shed.PriorityHeader: "exempt"}, nil, shed.Normal, true},
		{"labels", oshttp.HandlerOptions{Labels: allowlist(t, "tenant", "tier")},
			map[string]string{"X-Micro-Label-Tenant": "acme", "X-Micro-Label-Admin": "yes", "Baggage": "route.tier=gold"},
			map[string]string{"tenant": "acme", "tier": "gold"}, shed.Normal, true},
		{"labels without a list", oshttp.HandlerOptions{}, map[string]string{"X-Micro-Label-Tenant": "acme"}, nil, shed.Normal, true},
		{"strangers", oshttp.HandlerOptions{Public: true, Labels: allowlist(t, "tenant")},
			map[string]string{"Goos-Attempt": "2", shed.PriorityHeader: "critical", "X-Micro-Label-Tenant": "acme"}, nil, shed.Normal, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			var ctx context.Context
			h := newRig(t).handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { ctx = r.Context() }), test.opts)
			r := httptest.NewRequest("GET", "/", http.NoBody)
			for name, value := range test.header {
				r.Header.Set(name, value)
			}
			h.ServeHTTP(httptest.NewRecorder(), r)
			if got := router.LabelsFrom(ctx); !maps.Equal(got, test.labels) {
				t.Errorf("labels are %v, want %v", got, test.labels)
			}
			if got, _ := shed.PriorityFrom(ctx); got != test.priority {
				t.Errorf("the priority is %v, want %v", got, test.priority)
			}
			if got := router.RetriesAllowed(ctx); got != test.retries {
				t.Errorf("retries are allowed: %t, want %t", got, test.retries)
			}
		})
	}
}

// TestPassedOn checks what services and other hosts get of a chain.
func TestPassedOn(t *testing.T) {
	f := newFleet(t)
	f.route(router.Policy{})
	got := make(chan http.Header, 1)
	record := func(_ http.ResponseWriter, r *http.Request) { got <- r.Header }
	f.start("orders", "a", record)
	other := httptest.NewServer(http.HandlerFunc(record))
	defer other.Close()

	ctx := router.WithLabels(t.Context(), map[string]string{"tenant": "acme", "bad": "a\nb", "bad name": "c"})
	ctx = router.WithoutRetries(shed.WithPriority(ctx, shed.Low))
	transport := oshttp.NewTransport(f.services(oshttp.ServicesOptions{}, "orders"), nil)
	send := func(target string) http.Header {
		r, _ := http.NewRequestWithContext(ctx, "GET", target, nil)
		r.Header.Set("Goos-Attempt", "7") // a proxy's copy
		r.Header.Set("Goos-Service", "old")
		res, err := transport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		return <-got
	}
	want := map[string]string{"Goos-Attempt": "2", shed.PriorityHeader: "low", "X-Micro-Label-Tenant": "acme", "Goos-Service": "orders"}
	to := send("http://orders/")
	for name, value := range want {
		if to.Get(name) != value {
			t.Errorf("the service got %s %q, want %q", name, to.Get(name), value)
		}
	}
	to = send(other.URL)
	for name := range want {
		if to.Get(name) != "" {
			t.Errorf("another host got %s %q", name, to.Get(name))
		}
	}
}
