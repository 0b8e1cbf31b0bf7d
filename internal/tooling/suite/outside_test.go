package suite_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-os/go-os/internal/tooling/suite"
)

// outside is a module beside this one, with its own driver and source.
type outside struct {
	dir string
}

// newOutside writes the module into a folder. The module finds this one by a replace directive, and its dependencies in the module cache.
func newOutside(t *testing.T) outside {
	t.Helper()
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	o := outside{t.TempDir()}
	sums, err := os.ReadFile(filepath.Join(root, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	o.write(t, "go.sum", string(sums))
	o.write(t, "go.mod", fmt.Sprintf(`module example.com/outside

go 1.26

require github.com/go-os/go-os v0.0.0

replace github.com/go-os/go-os => %s
`, root))
	for _, name := range []string{"drivers.go", "drivers_test.go"} {
		o.write(t, name, o.source(t, name))
	}
	return o
}

// source returns a file of testdata, unchanged.
func (o outside) source(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "outside", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func (o outside) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(o.dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// test runs the module's tests, and returns their output and whether they pass.
func (o outside) test(t *testing.T, env ...string) (output string, passed bool) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "test", "-count=1", ".")
	cmd.Dir = o.dir
	cmd.Env = append(append(os.Environ(), "GOFLAGS=-mod=mod", "GOPROXY=off", "GOWORK=off", suite.LongVariable+"="), env...)
	out, err := cmd.CombinedOutput()
	return string(out), err == nil
}

// TestOutside acts as an author of drivers in another module. The suites pass for a driver that keeps its promises, record the result, and
// name a promise that is broken.
func TestOutside(t *testing.T) {
	suite.Short(t) // the suites are linked anew each time
	o := newOutside(t)
	if out, passed := o.test(t, "KVTEST_RECORD=write", "CONFIGTEST_RECORD=write"); !passed {
		t.Fatalf("a sound driver and a sound source fail:\n%s", out)
	}
	for _, record := range []string{"testdata/store.json", "testdata/source.json"} {
		if text, err := os.ReadFile(filepath.Join(o.dir, record)); err != nil || !strings.Contains(string(text), `"kept"`) {
			t.Errorf("the record %s holds %s, %v", record, text, err)
		}
	}
	broken := o.source(t, "drivers.go")
	for sound, instead := range map[string]string{
		"	s.version++\n":         "	s.version = 7\n",
		"return \"memory\"":      "return \"\"",
		"Write(text string) {\n": "Write(text string) {\n	if s.text != \"\" {\n		return\n	}\n",
	} {
		if strings.Count(broken, sound) != 1 {
			t.Fatalf("drivers.go has %q %d times", sound, strings.Count(broken, sound))
		}
		broken = strings.Replace(broken, sound, instead, 1)
	}
	o.write(t, "drivers.go", broken)
	out, passed := o.test(t)
	if passed {
		t.Error("a broken driver and a broken source pass")
	}
	for _, want := range []string{
		"--- FAIL: TestStore/values/versions", "version 7 was given twice",
		"--- FAIL: TestSource/read/a_name_that_tells", "--- FAIL: TestSource/read/what_is_there",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("the output has no %q:\n%s", want, out)
		}
	}
}
