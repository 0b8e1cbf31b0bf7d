// Package arch checks the layer rule of Go OS in a test: calls go down, telemetry goes out through the OpenTelemetry API, and wiring
// happens only in main.
//
// The check parses the imports of every file in-process. A test that runs `go list` in a child process would keep passing from the test
// cache after a forbidden import was added: the cache knows only the files that the test process itself has opened.
package arch

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Module is the prefix of all import paths of this repository.
const Module = "github.com/go-os/go-os"

// mayImport is the layer map: a top-level folder may import itself and the listed folders.
var mayImport = map[string][]string{
	"telemetry":  {"internal"},
	"internal":   {"telemetry"},
	"state":      {"telemetry", "internal"},
	"control":    {"state", "telemetry", "internal"},
	"identity":   {"state", "telemetry", "internal"},
	"middleware": {"control", "identity", "state", "telemetry", "internal"},
	"exporters":  {"telemetry", "internal"},
	"examples":   {"exporters", "middleware", "control", "identity", "state", "telemetry", "internal"},
}

// sdkUsers are the folders that may import the OpenTelemetry SDK and its exporters: they configure the implementation behind the Providers.
// All other folders take a telemetry.Providers.
var sdkUsers = []string{"telemetry/trace", "telemetry/metrics", "telemetry/log", "exporters", "examples"}

// tools are folders that no user links: programs and test helpers, free to import anything. Production code must not import them.
var tools = []string{"internal/tooling", "internal/admission/admissiontest", "internal/option/optiontest", "examples/internal/childtest"}

// testPackages are the last elements of import paths that belong in tests, in addition to package testing and our own suites.
var testPackages = []string{"httptest", "iotest", "tracetest", "logtest", "metricdatatest", "testutil", "goleak"}

// layered are the top-level folders that hold capabilities, each with its drivers beside it.
var layered = []string{"state", "control", "identity"}

// extended are packages that belong to the standard library in all but location.
var extended = []string{"golang.org/x/sync"}

// vendors are the libraries that a portable type may import, because they do a part of its work for every driver. Any other vendor belongs
// in a driver.
var vendors = map[string][]string{
	"state/kv/near":  {"github.com/maypok86/otter/v2"},
	"control/config": {"github.com/fsnotify/fsnotify"},
	"control/config/internal/document": {
		"go.yaml.in/yaml/v3", "github.com/pelletier/go-toml/v2", // scanners: the values are built here
		"github.com/go-playground/validator/v10",
	},
	"control/config/versions":               {"github.com/santhosh-tekuri/jsonschema/v6"},
	"control/discovery/internal/readnodev1": {"google.golang.org/grpc", "google.golang.org/protobuf"}, // generated
	"control/discovery/readnode":            {"google.golang.org/grpc", "google.golang.org/protobuf"},
	"control/router/internal/breaker":       {"golang.org/x/time/rate"},
	"control/router/internal/placement":     {"github.com/cespare/xxhash/v2"},
	"identity/auth":                         {"golang.org/x/oauth2", "github.com/go-jose/go-jose/v4", "github.com/cedar-policy/cedar-go"},
}

// forDrivers are the packages of internal that a driver may import. They have no policy and no telemetry.
var forDrivers = []string{"internal/backoff", "internal/defaults", "internal/life", "internal/sanitize"}

// storeless are packages of control that a program links without any package of state, as are their package driver and what is in their
// internal folders.
var storeless = []string{"control/config", "control/discovery"}

// Check returns every import below root that breaks the rule, in the order of the files. It skips nested modules, testdata and hidden
// folders.
func Check(root fs.FS) ([]string, error) {
	var broken []string
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if skip(root, name) {
				return fs.SkipDir
			}
			return nil
		}
		if path.Ext(name) != ".go" {
			return nil
		}
		found, err := checkFile(root, name)
		broken = append(broken, found...)
		return err
	})
	return broken, err
}

// Linked returns the import paths that a program links with one of our packages: our own packages, to any depth, and the packages of others
// that ours import. pkg is the folder of the package, such as control/config.
func Linked(root fs.FS, pkg string) (map[string]bool, error) {
	linked := map[string]bool{}
	for waiting := []string{pkg}; len(waiting) > 0; {
		dir := waiting[0]
		waiting = waiting[1:]
		imports, err := importsOf(root, dir)
		if err != nil {
			return nil, err
		}
		for _, imported := range imports {
			if linked[imported] {
				continue
			}
			linked[imported] = true
			if ours, ok := strings.CutPrefix(imported, Module+"/"); ok {
				waiting = append(waiting, ours)
			}
		}
	}
	return linked, nil
}

// importsOf returns the imports of the files in a folder, without its tests.
func importsOf(root fs.FS, dir string) (all []string, err error) {
	names, err := fs.Glob(root, dir+"/*.go")
	if err == nil && len(names) == 0 {
		err = fmt.Errorf("no Go files in %q: name a folder of the module", dir)
	}
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		imports, err := imports(root, name)
		if err != nil {
			return nil, err
		}
		all = append(all, imports...)
	}
	return all, nil
}

// imports returns the imports of a file.
func imports(root fs.FS, name string) (all []string, err error) {
	src, err := fs.ReadFile(root, name)
	if err != nil {
		return nil, err
	}
	file, err := parser.ParseFile(token.NewFileSet(), name, src, parser.ImportsOnly)
	if err != nil {
		return nil, err
	}
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return nil, err
		}
		all = append(all, imported)
	}
	return all, nil
}

func skip(root fs.FS, dir string) bool {
	if dir == "." {
		return false
	}
	if base := path.Base(dir); base == "testdata" || strings.HasPrefix(base, ".") {
		return true
	}
	_, err := fs.Stat(root, path.Join(dir, "go.mod"))
	return err == nil
}

func checkFile(root fs.FS, name string) ([]string, error) {
	all, err := imports(root, name)
	var broken []string
	for _, imported := range all {
		if why := judge(name, imported); why != "" {
			broken = append(broken, fmt.Sprintf("%s: imports %s: %s", name, imported, why))
		}
	}
	return broken, err
}

// judge returns why the file must not have the import, or "" if it may.
func judge(file, imported string) string {
	dir := path.Dir(file)
	if forTests(file) {
		return ""
	}
	if ours, ok := strings.CutPrefix(imported, Module+"/"); ok {
		return judgeOurs(dir, ours)
	}
	switch {
	case imported == "testing", strings.HasPrefix(imported, "testing/"), slices.Contains(testPackages, path.Base(imported)):
		return "links test code into production builds"
	case sdk(imported) && !within(dir, sdkUsers):
		return "the SDK belongs to exporters and telemetry's subpackages: take a telemetry.Providers instead"
	}
	return judgeVendor(dir, imported)
}

// sdk reports whether an import belongs to the implementation behind the OpenTelemetry API, in the SDK or in contrib.
func sdk(imported string) bool {
	return within(imported, []string{"go.opentelemetry.io/otel/sdk", "go.opentelemetry.io/otel/exporters", "go.opentelemetry.io/contrib"})
}

// forTests reports whether a file is linked into tests only: a _test.go file, a conformance suite, or a tool.
func forTests(file string) bool {
	dir := path.Dir(file)
	return strings.HasSuffix(file, "_test.go") || suite(dir) || within(dir, tools)
}

// suite reports whether a folder is the conformance suite of a capability: state/kv/kvtest.
func suite(dir string) bool {
	capability := path.Dir(dir)
	return capability != "." && path.Base(dir) == path.Base(capability)+"test"
}

func judgeOurs(dir, ours string) string {
	from, to := top(dir), top(ours)
	switch {
	case within(ours, tools), suite(ours):
		return "links test code into production builds"
	case dir == "telemetry":
		return "the telemetry root stands alone"
	case from != to && !slices.Contains(mayImport[from], to):
		return fmt.Sprintf("%s may import only %s", from, strings.Join(mayImport[from], ", "))
	case to == "state" && withoutStore(dir):
		return "a program that uses it links no store: what needs one lies in a package beside it"
	case from != to && to == "telemetry" && ours != "telemetry" && from != "exporters" && from != "examples":
		return "import the telemetry root; its subpackages configure what stands behind it"
	}
	if capability, driver := split(dir); driver != "" {
		return judgeDriver(capability, driver, ours)
	}
	if classifier(ours) {
		return "what drivers share about a vendor is for drivers alone"
	}
	if capability, driver := split(ours); driver != "" && slices.Contains(layered, from) {
		return fmt.Sprintf("only main chooses a driver of %s", capability)
	}
	return ""
}

// withoutStore reports whether a folder belongs to one of storeless.
func withoutStore(dir string) bool {
	return slices.ContainsFunc(storeless, func(p string) bool {
		return dir == p || dir == p+"/driver" || strings.HasPrefix(dir, p+"/internal/")
	})
}

// shared reports whether a folder has code that several capabilities of a layer share, such as state/internal/leases.
func shared(dir string) bool {
	parts := strings.Split(dir, "/")
	return len(parts) == 3 && slices.Contains(layered, parts[0]) && parts[1] == "internal"
}

// classifier reports whether a folder classifies the errors of a vendor for all its drivers: state/internal/etcderr for those of one layer,
// internal/consulerr for those of several. It imports the vendor, so a portable type must not link it.
func classifier(dir string) bool {
	return strings.HasSuffix(dir, "err") && (shared(dir) || path.Dir(dir) == "internal")
}

// judgeDriver keeps drivers small: a driver translates between its vendor and package driver, and the portable type does the rest. The
// vendor of a driver on top of key-value is key-value. Drivers of one capability may share the code in its internal folder, and all drivers
// of a layer the code in the layer's internal folder.
func judgeDriver(capability, driver, ours string) string {
	switch {
	case ours == capability+"/driver", strings.HasPrefix(ours, capability+"/internal/"), slices.Contains(forDrivers, ours):
		return ""
	case top(ours) == top(capability) && shared(ours), path.Dir(ours) == "internal" && classifier(ours):
		return ""
	case strings.HasPrefix(driver, "kv") && ours == "state/kv":
		return ""
	}
	return "a driver imports driver and its vendor, nothing else of ours"
}

// judgeVendor keeps vendors inside drivers, and everything but the OpenTelemetry API out of the packages that all others use.
func judgeVendor(dir, imported string) string {
	host, _, _ := strings.Cut(imported, "/")
	if !strings.Contains(host, ".") || strings.HasPrefix(imported, "go.opentelemetry.io/otel") || within(imported, extended) {
		return ""
	}
	if dir == "telemetry" || dir == "internal/instrument" {
		return "sees only the OpenTelemetry API"
	}
	if _, driver := split(dir); driver != "" || classifier(dir) || !slices.Contains(layered, top(dir)) || within(imported, vendors[dir]) {
		return ""
	}
	return "a vendor belongs in a driver"
}

// split divides the folder of a driver, such as state/kv/memkv, into its capability and its own name.
func split(dir string) (capability, driver string) {
	parts := strings.Split(dir, "/")
	if len(parts) < 3 || !slices.Contains(layered, parts[0]) || !strings.HasSuffix(parts[2], parts[1]) {
		return dir, ""
	}
	return path.Join(parts[0], parts[1]), parts[2]
}

func top(dir string) string {
	first, _, _ := strings.Cut(dir, "/")
	return first
}

func within(dir string, folders []string) bool {
	return slices.ContainsFunc(folders, func(f string) bool {
		return dir == f || strings.HasPrefix(dir, f+"/")
	})
}
