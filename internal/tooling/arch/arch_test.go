package arch_test

import (
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/go-os/go-os/internal/tooling/arch"
)

// TestLayers checks this repository.
func TestLayers(t *testing.T) {
	root := os.DirFS("../../..")
	if _, err := fs.Stat(root, "go.mod"); err != nil {
		t.Fatalf("not the root of the module: %v", err)
	}
	broken, err := arch.Check(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range broken {
		t.Error(b)
	}
}

// TestMutations adds one import at a time to a small tree, and expects a complaint or none.
func TestMutations(t *testing.T) {
	const ours = arch.Module + "/"
	for _, c := range []struct {
		name, file, imports, want string
	}{
		{"upward import", "state/kv/kv.go", ours + "control/config", "state may import only"},
		{"peer import", "control/config/config.go", ours + "identity/auth", "control may import only"},
		{"middleware from below", "telemetry/log/log.go", ours + "middleware/oshttp", "telemetry may import only"},
		{"exporters in middleware", "middleware/oshttp/handler.go", ours + "exporters", "middleware may import only"},
		{"control in identity", "identity/auth/auth.go", ours + "control/config", "identity may import only"},
		{"state in exporters", "exporters/setup.go", ours + "state/kv", "exporters may import only"},
		{"state in internal", "internal/instrument/instrument.go", ours + "state/kv", "internal may import only"},
		{"telemetry subpackage in internal", "internal/delivery/sender.go", ours + "telemetry/log", "import the telemetry root"},
		{"vendor in the instrument", "internal/instrument/instrument.go", "github.com/samber/slog-multi", "sees only the OpenTelemetry API"},
		{"helper for tests in middleware", "middleware/oshttp/handler.go", ours + "internal/admission/admissiontest", "production builds"},
		{"helper for tests in a program", "examples/shop/main.go", ours + "examples/internal/childtest", "production builds"},
		{"scanner outside the package that builds documents", "control/config/load.go", "go.yaml.in/yaml/v3", "belongs in a driver"},
		{"SDK in a capability", "state/kv/kv.go", "go.opentelemetry.io/otel/sdk/trace", "take a telemetry.Providers"},
		{"SDK in the telemetry root", "telemetry/telemetry.go", "go.opentelemetry.io/otel/sdk/trace", "take a telemetry.Providers"},
		{"SDK in the instrument", "internal/instrument/instrument.go", "go.opentelemetry.io/otel/sdk/metric", "take a telemetry.Providers"},
		{"SDK in the delivery", "internal/delivery/sender.go", "go.opentelemetry.io/otel/sdk/trace", "take a telemetry.Providers"},
		{"OTLP exporter in middleware", "middleware/oshttp/handler.go", "go.opentelemetry.io/otel/exporters/otlp/otlptrace", "take a telemetry.Providers"},
		{"testing in production", "state/kv/kv.go", "testing", "production builds"},
		{"httptest in production", "middleware/oshttp/handler.go", "net/http/httptest", "production builds"},
		{"a suite in production", "state/kv/memkv/memkv.go", ours + "state/kv/kvtest", "production builds"},
		{"test engines in production", "state/kv/etcdkv/etcdkv.go", ours + "internal/tooling/testenv", "production builds"},
		{"a tool in what ships", "internal/instrument/instrument.go", ours + "internal/tooling/suite", "production builds"},
		{"telemetry subpackage in a capability", "state/kv/kv.go", ours + "telemetry/trace", "import the telemetry root"},
		{"telemetry subpackage in middleware", "middleware/osgrpc/server.go", ours + "telemetry/log", "import the telemetry root"},
		{"driver importing its portable type", "state/kv/memkv/memkv.go", ours + "state/kv", "nothing else of ours"},
		{"driver importing another driver", "state/kv/memkv/memkv.go", ours + "state/kv/etcdkv", "nothing else of ours"},
		{"driver importing what drivers of another capability share", "state/sync/memsync/memsync.go", ours + "state/kv/internal/feed", "nothing else of ours"},
		{"telemetry in a driver", "state/kv/memkv/memkv.go", ours + "telemetry", "nothing else of ours"},
		{"instrumentation in a driver", "state/kv/memkv/memkv.go", ours + "internal/instrument", "nothing else of ours"},
		{"portable type importing a driver", "state/kv/kv.go", ours + "state/kv/memkv", "only main chooses a driver"},
		{"capability choosing a driver of another", "control/config/versions/versions.go", ours + "state/kv/memkv", "only main chooses a driver"},
		{"state in a portable type that needs no store", "control/config/load.go", ours + "state/kv", "links no store"},
		{"state in what that type is made of", "control/config/internal/document/build.go", ours + "state/kv", "links no store"},
		{"state in discovery", "control/discovery/resolver.go", ours + "state/kv", "links no store"},
		{"state in the drivers' side of discovery", "control/discovery/driver/driver.go", ours + "state/kv", "links no store"},
		{"gRPC in discovery", "control/discovery/resolver.go", "google.golang.org/grpc", "a vendor belongs in a driver"},
		{"rate limiter in the breakers of the router", "control/router/internal/breaker/rate.go", "golang.org/x/time/rate", ""},
		{"failsafe-go in the breakers of the router", "control/router/internal/breaker/breaker.go", "github.com/failsafe-go/failsafe-go/circuitbreaker", "a vendor belongs in a driver"},
		{"vendor of a registry in discovery", "control/discovery/registrar.go", "github.com/hashicorp/consul/api", "a vendor belongs in a driver"},
		{"discovery choosing a driver", "control/discovery/static.go", ours + "control/discovery/kvdiscovery", "only main chooses a driver"},
		{"configuration choosing a driver of discovery", "control/config/url.go", ours + "control/discovery/dnsdiscovery", "only main chooses a driver"},
		{"driver of discovery importing its portable type", "control/discovery/kvdiscovery/kvdiscovery.go", ours + "control/discovery", "nothing else of ours"},
		{"driver of discovery importing another", "control/discovery/dnsdiscovery/watch.go", ours + "control/discovery/kvdiscovery", "nothing else of ours"},
		{"driver of discovery on kv choosing an engine", "control/discovery/kvdiscovery/kvdiscovery.go", ours + "state/kv/etcdkv", "nothing else of ours"},
		{"driver of discovery on a vendor using kv", "control/discovery/consuldiscovery/watch.go", ours + "state/kv", "nothing else of ours"},
		{"driver of discovery importing what drivers of state share", "control/discovery/consuldiscovery/lease.go", ours + "state/internal/leases", "nothing else of ours"},
		{"telemetry in a driver of discovery", "control/discovery/dnsdiscovery/watch.go", ours + "telemetry", "nothing else of ours"},
		{"policy in a driver of discovery", "control/discovery/kvdiscovery/kvdiscovery.go", ours + "internal/delivery", "nothing else of ours"},
		{"the suite of discovery in production", "control/discovery/kvdiscovery/kvdiscovery.go", ours + "control/discovery/discoverytest", "production builds"},
		{"JSON Schema in a portable type", "control/config/load.go", "github.com/santhosh-tekuri/jsonschema/v6", "a vendor belongs in a driver"},
		{"portable type importing what drivers share", "state/kv/kv.go", ours + "state/internal/etcderr", "for drivers alone"},
		{"portable type importing what layers share", "control/discovery/discovery.go", ours + "internal/consulerr", "for drivers alone"},
		{"hash library of the router elsewhere in it", "control/router/pick.go", "github.com/cespare/xxhash/v2", "a vendor belongs in a driver"},
		{"vendor in what a layer shares", "state/internal/leases/leases.go", "go.etcd.io/etcd/client/v3", "a vendor belongs in a driver"},
		{"what a layer shares importing a driver", "state/internal/leases/leases.go", ours + "state/kv/memkv", "only main chooses a driver"},
		{"policy in a driver", "state/kv/memkv/memkv.go", ours + "internal/delivery", "nothing else of ours"},
		{"SDK in a lifetime", "internal/life/life.go", "go.opentelemetry.io/otel/sdk/trace", "take a telemetry.Providers"},
		{"a capability in a lifetime", "internal/life/life.go", ours + "state/kv", "internal may import only"},
		{"vendor in a portable type", "state/kv/kv.go", "go.etcd.io/etcd/client/v3", "a vendor belongs in a driver"},
		{"cache library in the portable type", "state/kv/kv.go", "github.com/maypok86/otter/v2", "a vendor belongs in a driver"},
		{"near cache choosing a driver", "state/kv/near/near.go", ours + "state/kv/memkv", "only main chooses a driver"},
		{"SDK through contrib", "state/kv/kv.go", "go.opentelemetry.io/contrib/otelconf", "take a telemetry.Providers"},
		{"testing in a folder that only ends like a suite", "identity/attest/attest.go", "testing", "production builds"},
		{"vendor in the telemetry root", "telemetry/telemetry.go", "github.com/samber/slog-multi", "sees only the OpenTelemetry API"},
		{"anything of ours in the telemetry root", "telemetry/telemetry.go", ours + "internal/instrument", "stands alone"},

		{"recorder of telemetry outside of tests", "state/kv/kv.go", ours + "telemetry/telemetrytest", "links test code into production builds"},
		{"recorder of telemetry in a program", "examples/shop/main.go", ours + "telemetry/telemetrytest", "links test code into production builds"},

		{"recorder of telemetry in a suite", "state/kv/kvtest/kvtest.go", ours + "telemetry/telemetrytest", ""},
		{"recorder of telemetry in a test", "middleware/oshttp/handler_test.go", ours + "telemetry/telemetrytest", ""},
		{"SDK in the recorder of telemetry", "telemetry/telemetrytest/spans.go", "go.opentelemetry.io/otel/sdk/trace", ""},
		{"scanner in the package that builds documents", "control/config/internal/document/yaml.go", "go.yaml.in/yaml/v3", ""},
		{"telemetry subpackage in exporters", "exporters/setup.go", ours + "telemetry/log", ""},
		{"telemetry subpackage in a program", "examples/shop/main.go", ours + "telemetry/log", ""},
		{"middleware on control and state", "middleware/oshttp/handler.go", ours + "control/config", ""},
		{"SDK in exporters", "exporters/setup.go", "go.opentelemetry.io/otel/sdk/trace", ""},
		{"SDK in telemetry/trace", "telemetry/trace/sampler.go", "go.opentelemetry.io/otel/sdk/trace", ""},
		{"API in a capability", "state/kv/kv.go", "go.opentelemetry.io/otel/metric", ""},
		{"control on state", "control/config/versions/versions.go", ours + "state/kv", ""},
		{"a vendor of a package beside a portable type", "control/config/versions/jsonschema.go", "github.com/santhosh-tekuri/jsonschema/v6", ""},
		{"driver on driver", "state/kv/memkv/memkv.go", ours + "state/kv/driver", ""},
		{"driver of another capability on kv", "control/discovery/kvdiscovery/kv.go", ours + "state/kv", ""},
		{"vendor in a driver of discovery", "control/discovery/consuldiscovery/watch.go", "github.com/hashicorp/consul/api", ""},
		{"backoff in a driver of discovery", "control/discovery/dnsdiscovery/watch.go", ours + "internal/backoff", ""},
		{"bounds of text in a driver of discovery", "control/discovery/kvdiscovery/kvdiscovery.go", ours + "internal/sanitize", ""},
		{"drivers in the suite of discovery", "control/discovery/discoverytest/run.go", ours + "control/discovery/kvdiscovery", ""},
		{"what drivers of one capability share", "state/kv/memkv/memkv.go", ours + "state/kv/internal/feed", ""},
		{"lifetime in a driver", "state/sync/etcdsync/etcdsync.go", ours + "internal/life", ""},
		{"what a layer shares in a portable type", "state/kv/lease.go", ours + "state/internal/leases", ""},
		{"what a layer shares in package driver", "state/kv/driver/capabilities.go", ours + "state/internal/leases", ""},
		{"defaults in a driver", "state/kv/memkv/memkv.go", ours + "internal/defaults", ""},
		{"extension of the standard library", "state/kv/batch.go", "golang.org/x/sync/errgroup", ""},
		{"what drivers on one vendor share", "state/sync/etcdsync/etcdsync.go", ours + "state/internal/etcderr", ""},
		{"what drivers of two layers share", "control/discovery/consuldiscovery/consuldiscovery.go", ours + "internal/consulerr", ""},
		{"vendor in what two layers share", "internal/consulerr/consulerr.go", "github.com/hashicorp/consul/api", ""},
		{"vendor in what its drivers share", "state/internal/etcderr/etcderr.go", "go.etcd.io/etcd/api/v3/v3rpc/rpctypes", ""},
		{"vendor in its driver", "state/kv/etcdkv/etcdkv.go", "go.etcd.io/etcd/client/v3", ""},
		{"hash library of the router", "control/router/internal/placement/hash.go", "github.com/cespare/xxhash/v2", ""},
		{"vendor that a part of a capability works with", "state/kv/near/near.go", "github.com/maypok86/otter/v2", ""},
		{"package that only ends in test", "state/kv/etcdkv/etcdkv.go", "example.com/latest", ""},
		{"main choosing a driver", "examples/shop/main.go", ours + "state/kv/memkv", ""},
		{"testing in a test", "state/kv/kv_test.go", "testing", ""},
		{"a tool in a suite", "state/kv/kvtest/kvtest.go", ours + "internal/tooling/suite", ""},
		{"a tool in a tool", "internal/tooling/driverdoc/main.go", ours + "internal/tooling/testenv", ""},
		{"testing in a suite", "state/kv/kvtest/kvtest.go", "testing", ""},
		{"SDK in a test", "state/kv/kv_test.go", "go.opentelemetry.io/otel/sdk/trace", ""},
		{"nested module", "internal/tooling/bench/go.mod.go", "testing", ""},
		{"testdata", "state/testdata/x.go", "testing", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			tree := fstest.MapFS{
				"telemetry/clean.go":            {Data: []byte("package telemetry\n\nimport \"context\"\n")},
				"internal/tooling/bench/go.mod": {Data: []byte("module bench\n")},
				c.file:                          {Data: []byte("package p\n\nimport \"context\"\nimport \"" + c.imports + "\"\n")},
			}
			broken, err := arch.Check(tree)
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Join(broken, "\n")
			if c.want == "" && got != "" {
				t.Errorf("want silence, got %q", got)
			}
			if c.want != "" && (len(broken) != 1 || !strings.Contains(got, c.want) || !strings.Contains(got, c.file)) {
				t.Errorf("want one complaint about %s with %q, got %q", c.file, c.want, got)
			}
		})
	}
}

// TestPackagesLinkLittle checks what a program links with a package, to any depth.
func TestPackagesLinkLittle(t *testing.T) {
	const sdk = "go.opentelemetry.io/otel/sdk"
	store := arch.Module + "/state/"
	for pkg, c := range map[string]struct{ links, linksNot []string }{
		"control/config":                {[]string{"github.com/go-playground/validator/v10"}, []string{sdk, store, "jsonschema", "otter"}},
		"control/discovery":             {[]string{arch.Module + "/control/discovery/driver"}, []string{sdk, store, "google.golang.org/grpc", "consul", "etcd", "dns"}},
		"control/discovery/kvdiscovery": {[]string{arch.Module + "/state/kv"}, []string{sdk, "google.golang.org/grpc", "go.etcd.io", "hashicorp", "nats"}},
		"control/router":                {[]string{arch.Module + "/control/discovery"}, []string{sdk, store, "google.golang.org/grpc", "failsafe"}},
		"internal/delivery":             {[]string{arch.Module + "/internal/backoff"}, []string{sdk, store, arch.Module + "/exporters", arch.Module + "/telemetry/"}},
		"middleware/oshttp":             {[]string{arch.Module + "/telemetry"}, []string{sdk, store, arch.Module + "/telemetry/", "otelhttp", "failsafe"}},
		"state/kv":                      {[]string{arch.Module + "/internal/instrument"}, []string{sdk, "otter", "etcd", "rueidis", arch.Module + "/state/sync"}},
		"state/kv/memkv":                {[]string{arch.Module + "/state/kv/driver"}, []string{sdk, "go.opentelemetry.io", "etcd", "rueidis"}},
		"state/sync":                    {[]string{arch.Module + "/internal/instrument"}, []string{sdk, "otter", "etcd", "rueidis", "pgx"}},
	} {
		t.Run(pkg, func(t *testing.T) {
			linked, err := arch.Linked(os.DirFS("../../.."), pkg)
			if err != nil {
				t.Fatal(err)
			}
			for _, path := range c.links {
				if !linked[path] {
					t.Errorf("%s is not among %v: the packages below are not seen", path, slices.Sorted(maps.Keys(linked)))
				}
			}
			for path := range linked {
				for _, part := range c.linksNot {
					if strings.Contains(path, part) {
						t.Errorf("links %s", path)
					}
				}
			}
		})
	}
}

func TestLinked(t *testing.T) {
	file := func(imports ...string) *fstest.MapFile {
		return &fstest.MapFile{Data: []byte("package p\n\nimport \"" + strings.Join(imports, "\"\nimport \"") + "\"\n")}
	}
	const ours = arch.Module + "/"
	tree := fstest.MapFS{
		"a/a.go": file("context", ours+"b"), "a/a_test.go": file("testing"), "b/b.go": file(ours+"c", "example.com/b"), "b/more.go": file("fmt"), "c/c.go": file(ours + "b"),
	}
	linked, err := arch.Linked(tree, "a")
	want := []string{"context", "example.com/b", "fmt", ours + "b", ours + "c"}
	if got := slices.Sorted(maps.Keys(linked)); err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	if _, err := arch.Linked(tree, "d"); err == nil {
		t.Error("a folder that is not there is no error")
	}
}

func TestBrokenSourceIsAnError(t *testing.T) {
	if _, err := arch.Check(fstest.MapFS{"state/kv.go": {Data: []byte("not Go")}}); err == nil {
		t.Fatal("want an error for a file that does not parse")
	}
}
