package arch

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestTelemetryPageIsComplete: every name that a package comment lists under "# Telemetry" is in docs/telemetry.md.
func TestTelemetryPageIsComplete(t *testing.T) {
	page, err := os.ReadFile("../../../docs/telemetry.md")
	if err != nil {
		t.Fatal(err)
	}
	packages := 0
	for _, root := range []string{"telemetry", "state", "control", "middleware", "exporters"} {
		err := filepath.WalkDir("../../../"+root, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments|parser.PackageClauseOnly)
			if err != nil {
				return err
			}
			names := telemetryNames(file.Doc.Text())
			if len(names) > 0 {
				packages++
			}
			for _, name := range names {
				if !strings.Contains(string(page), "`"+name+"`") {
					t.Errorf("%s lists %s, which docs/telemetry.md lacks: add a situation to internal/tooling/teledoc", path, name)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if packages < 5 {
		t.Errorf("%d packages list names, want at least 5: has the heading changed?", packages)
	}
}

// TestTelemetryNames shows which texts the test above takes for names.
func TestTelemetryNames(t *testing.T) {
	got := telemetryNames("Package x, scope goos.other.\n\n# Telemetry\n\n  - goos.kv.watch.lost (warning): with goos.kv.key.\n  - goos.*: all\n\n# More\n\ngoos.none.here\n")
	if want := []string{"goos.kv.watch.lost", "goos.kv.key"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

var telemetryName = regexp.MustCompile(`\bgoos\.[a-z_]+(\.[a-z_]+)+`)

// telemetryNames returns the names of Go OS in the section "# Telemetry" of a package comment.
func telemetryNames(comment string) []string {
	_, section, _ := strings.Cut(comment, "# Telemetry\n")
	section, _, _ = strings.Cut(section, "\n# ")
	return telemetryName.FindAllString(section, -1)
}
