package discovery_test

import (
	"testing"

	"github.com/go-os/go-os/control/discovery"
)

// TestPreferred takes the instances of the best rank that has any.
func TestPreferred(t *testing.T) {
	of := func(id string, state discovery.State, weight int) discovery.Instance {
		return discovery.Instance{
			Service: "orders", ID: id, State: state, Weight: weight, Zone: "a", Addresses: map[string]string{"grpc": "10.0.0.1:1"},
		}
	}
	up, second := of("up", discovery.Up, 100), of("second", discovery.Up, 1)
	second.Zone, second.Addresses = "b", map[string]string{"http": "10.0.0.1:2"}
	sick, leaving, idle := of("sick", discovery.Unhealthy, 100), of("leaving", discovery.Draining, 100), of("idle", discovery.Up, 0)
	none := of("none", discovery.Draining, 0)
	all := func(more ...discovery.Instance) []discovery.Instance { return more }
	tests := []struct {
		name      string
		instances []discovery.Instance
		filters   []discovery.Filter
		want      string
	}{
		{"all available", all(up, second), nil, " up second"},
		{"others are left out", all(idle, sick, leaving, up), nil, " up"},
		{"unhealthy", all(idle, sick, leaving, none), nil, " sick"},
		{"draining", all(idle, leaving, none), nil, " leaving"},
		{"weight zero", all(idle, none), nil, " idle none"},
		{"nothing", nil, nil, ""},
		{"a filter", all(up, second), []discovery.Filter{discovery.InZone("b")}, " second"},
		{"two filters", all(up, second), []discovery.Filter{discovery.InZone("b"), discovery.WithProtocol("grpc")}, ""},
		{"a protocol", all(up, second), []discovery.Filter{discovery.WithProtocol("grpc")}, " up"},
		{"a filter comes before the rank", all(up, sick), []discovery.Filter{func(i *discovery.Instance) bool { return i.ID == "sick" }}, " sick"},
	}
	for _, tt := range tests {
		got := ""
		for _, i := range (&discovery.Snapshot{Instances: tt.instances}).Preferred(tt.filters...) {
			got += " " + i.ID
		}
		if got != tt.want {
			t.Errorf("%s: got%s, want%s", tt.name, got, tt.want)
		}
	}
}
