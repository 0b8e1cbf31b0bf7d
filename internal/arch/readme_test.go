package arch_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestREADME keeps the program in the README the one that compiles, near enough to the top to be seen.
func TestREADME(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile("../../examples/hello/main.go")
	if err != nil {
		t.Fatal(err)
	}
	before, rest, _ := strings.Cut(string(readme), "```go\n")
	shown, _, found := strings.Cut(rest, "```")
	if !found || shown != string(program) {
		t.Error("the first program in README.md is not examples/hello/main.go; copy it there")
	}
	if line := strings.Count(before, "\n") + 2; line >= 20 {
		t.Errorf("the program in README.md begins at line %d, want before 20", line)
	}
	for _, command := range []string{"go run ./examples/shop", "go test ./..."} {
		if !strings.Contains(string(readme), command) {
			t.Errorf("README.md does not name the command %q", command)
		}
	}
}

// TestLinks finds links between our documents that lead nowhere.
func TestLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:]+)\)`)
	for _, doc := range []string{"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/design.md"} {
		text, err := os.ReadFile("../../" + doc)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if _, err := os.Stat(filepath.Join("../..", filepath.Dir(doc), m[1])); err != nil {
				t.Errorf("%s links to %s: %v", doc, m[1], err)
			}
		}
	}
}
