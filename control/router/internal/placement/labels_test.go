package placement_test

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"go.opentelemetry.io/otel/baggage"

	"github.com/go-os/go-os/control/router/internal/placement"
	"github.com/go-os/go-os/internal/fault"
)

func allowlist(t testing.TB, keys ...string) *placement.Allowlist {
	t.Helper()
	a, err := placement.NewAllowlist(keys, placement.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func parseBaggage(t testing.TB, text string) baggage.Baggage {
	t.Helper()
	b, err := baggage.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestLabels takes listed labels only, by the rules of each carrier.
func TestLabels(t *testing.T) {
	a := allowlist(t, "tenant", "appVersion", "zone")
	long := strings.Repeat("x", placement.DefaultMaxValue)
	for name, c := range map[string]struct {
		header  http.Header
		baggage string
		want    labels
		refused int
	}{
		"nothing":                     {nil, "", nil, 0},
		"header":                      {http.Header{"X-Micro-Label-Tenant": {"acme"}}, "", labels{"tenant": "acme"}, 0},
		"gRPC metadata":               {http.Header{"x-micro-label-tenant": {"acme"}}, "", labels{"tenant": "acme"}, 0},
		"the case of the list":        {http.Header{"X-Micro-Label-Appversion": {"2"}}, "", labels{"appVersion": "2"}, 0},
		"values keep their case":      {http.Header{"X-Micro-Label-Tenant": {"ACME"}}, "", labels{"tenant": "ACME"}, 0},
		"not listed":                  {http.Header{"X-Micro-Label-Admin": {"true"}}, "route.admin=true", nil, 0},
		"without the prefix":          {http.Header{"Tenant": {"acme"}}, "tenant=acme", nil, 0},
		"baggage":                     {nil, "route.tenant=acme,route.zone=eu%2D1", labels{"tenant": "acme", "zone": "eu-1"}, 0},
		"baggage has a case":          {nil, "route.Tenant=acme", nil, 0},
		"the header wins":             {http.Header{"X-Micro-Label-Tenant": {"acme"}}, "route.tenant=umbra,route.zone=a", labels{"tenant": "acme", "zone": "a"}, 0},
		"twice":                       {http.Header{"X-Micro-Label-Tenant": {"acme", "umbra"}}, "", nil, 1},
		"twice, in two spellings":     {http.Header{"X-Micro-Label-Tenant": {"acme"}, "x-micro-label-tenant": {"umbra"}}, "", nil, 1},
		"a refused header wins, too":  {http.Header{"X-Micro-Label-Tenant": {"acme", "umbra"}}, "route.tenant=acme", nil, 1},
		"empty":                       {http.Header{"X-Micro-Label-Tenant": {""}}, "", nil, 1},
		"no values":                   {http.Header{"X-Micro-Label-Tenant": {}}, "", nil, 0},
		"the longest value":           {http.Header{"X-Micro-Label-Tenant": {long}}, "", labels{"tenant": long}, 0},
		"a longer value":              {http.Header{"X-Micro-Label-Tenant": {long + "x"}}, "", nil, 1},
		"not UTF-8":                   {http.Header{"X-Micro-Label-Tenant": {"a\xff"}}, "", nil, 1},
		"a control character":         {http.Header{"X-Micro-Label-Tenant": {"a\nb"}}, "", nil, 1},
		"a control character, quoted": {nil, "route.tenant=a%0Ab", nil, 1},
		"text of other scripts":       {http.Header{"X-Micro-Label-Tenant": {"Żółw"}}, "", labels{"tenant": "Żółw"}, 0},
	} {
		got, refused := a.Labels(c.header, parseBaggage(t, c.baggage))
		if !maps.Equal(got, c.want) || refused != c.refused || (c.want == nil) != (got == nil) {
			t.Errorf("%s: %v with %d refused, want %v with %d", name, got, refused, c.want, c.refused)
		}
	}
}

// TestLabelsLimit: the first labels of the list are taken, however many a caller sends.
func TestLabelsLimit(t *testing.T) {
	var keys []string
	header := http.Header{}
	for i := range 100 {
		key := fmt.Sprintf("l%d", i)
		keys = append(keys, key)
		header.Set(placement.HeaderPrefix+key, "v")
		header.Set(placement.HeaderPrefix+key+"-unlisted", "v")
	}
	got, refused := allowlist(t, keys...).Labels(header, baggage.Baggage{})
	if len(got) != placement.DefaultMaxLabels || got["l0"] != "v" || got["l15"] != "v" || refused != 100-placement.DefaultMaxLabels {
		t.Errorf("%d labels and %d refused: %v", len(got), refused, got)
	}
}

func TestAllowlistInvalid(t *testing.T) {
	long := strings.Repeat("x", 64)
	for want, keys := range map[string][]string{
		`invalid: label "": use a name of 1 to 64 bytes`:                                             {"tenant", ""},
		`invalid: label "` + long + `": use a name of 1 to 64 bytes`:                                 {long + "x"},
		`invalid: label "a b": use only letters, digits, hyphens, underscores and dots`:              {"a b"},
		"invalid: label \"a\\r\\nHost: x\": use only letters, digits, hyphens, underscores and dots": {"a\r\nHost: x"},
		`invalid: label "*": use only letters, digits, hyphens, underscores and dots`:                {"*"},
		`invalid: duplicate label "Tenant": "tenant" is allowed already, and headers have no case`:   {"tenant", "Tenant"},
	} {
		if _, err := placement.NewAllowlist(keys, placement.Limits{}); !errors.Is(err, fault.Invalid) || err.Error() != want {
			t.Errorf("%v, want %q", err, want)
		}
	}
	for _, limits := range []placement.Limits{{MaxLabels: -1}, {MaxValue: -1}} {
		if _, err := placement.NewAllowlist([]string{"tenant"}, limits); !errors.Is(err, fault.Invalid) {
			t.Errorf("%+v: %v, want invalid", limits, err)
		}
	}
}

// TestIndex: the values that no candidate has share a cache key, and the others have one each.
func TestIndex(t *testing.T) {
	x := placement.NewIndex(labelled)
	key := func(l labels) string { return string(x.AppendKey(nil, l)) }
	for _, same := range [][2]labels{
		{nil, {}},
		{{"tenant": "nobody"}, {"tenant": "initech"}},
		{{"tenant": "acme", "tier": "x"}, {"tier": "y", "tenant": "acme"}},
	} {
		if key(same[0]) != key(same[1]) {
			t.Errorf("%v and %v have the keys %q and %q, want the same", same[0], same[1], key(same[0]), key(same[1]))
		}
	}
	seen := map[string]labels{}
	for _, l := range []labels{
		{}, {"tenant": "acme"}, {"tenant": "umbra"}, {"tenant": "nobody"}, {"tier": "nobody"}, {"tenant": "acme", "tier": "gold"}, {"zone": "a"},
		{"zone": "b"}, {"version": "1"}, {"version": "2"}, {"version": "9"}, {"tenant": "acme\",\"tier\"=\"gold"}, {"tenant\"=\"acme": "x"},
	} {
		if other, ok := seen[key(l)]; ok && len(l) > 0 {
			if l["tenant"] != "acme\",\"tier\"=\"gold" || other["tenant"] != "nobody" { // both unknown
				t.Errorf("%v and %v have the key %q", l, other, key(l))
			}
		}
		seen[key(l)] = l
	}
}

// TestIndexAlloc: the key of a request costs no memory.
func TestIndexAlloc(t *testing.T) {
	x, buffer := placement.NewIndex(labelled), make([]byte, 0, 256)
	l := labels{"tenant": "acme", "tier": "gold", "zone": "nowhere"}
	if n := testing.AllocsPerRun(100, func() { x.AppendKey(buffer, l) }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

// TestLabelsAlloc: a request without labels costs no memory.
func TestLabelsAlloc(t *testing.T) {
	a, header := allowlist(t, "tenant", "zone"), http.Header{"Accept": {"*/*"}}
	if n := testing.AllocsPerRun(100, func() { a.Labels(header, baggage.Baggage{}) }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

// FuzzLabels sends hostile headers and baggage.
func FuzzLabels(f *testing.F) {
	f.Add("X-Micro-Label-Tenant", "acme", "route.tenant=b")
	f.Add("x-micro-label-zone", "\x00\xff", "route.zone=%00")
	f.Add("X-Micro-Label-", "", "route.=1")
	a := allowlist(f, "tenant", "zone")
	f.Fuzz(func(t *testing.T, name, value, members string) {
		b, _ := baggage.Parse(members)
		got, refused := a.Labels(map[string][]string{name: {value}, "X-Micro-Label-Tenant": {value, name}}, b)
		if refused < 0 || len(got)+refused > 2 {
			t.Fatalf("%d labels and %d refused", len(got), refused)
		}
		for key, value := range got {
			if key != "tenant" && key != "zone" || value == "" || len(value) > placement.DefaultMaxValue || !utf8.ValidString(value) {
				t.Fatalf("label %q=%q", key, value)
			}
		}
	})
}
