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
	readme, err := os.ReadFile("../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile("../../../examples/hello/main.go")
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

// TestSnippets keeps the other programs in the README those that examples/snippets compiles and runs, and short.
func TestSnippets(t *testing.T) {
	readme, err := os.ReadFile("../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	compiled, err := os.ReadFile("../../../examples/snippets/snippets_test.go")
	if err != nil {
		t.Fatal(err)
	}
	body := strings.ReplaceAll(string(compiled), "\n\t", "\n")
	blocks := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(string(readme), -1)
	if len(blocks) < 4 {
		t.Fatalf("README.md has %d programs, want examples/hello and one each for state/kv, state/sync and control/config", len(blocks))
	}
	for _, block := range blocks[1:] {
		if !strings.Contains(body, block[1]) {
			t.Errorf("examples/snippets does not have this program of README.md:\n%s", block[1])
		}
		if lines := strings.Count(block[1], "\n"); lines > 8 {
			t.Errorf("a program of README.md has %d lines, want 8 at most:\n%s", lines, block[1])
		}
	}
}

// TestLinks finds links between our documents that lead nowhere.
func TestLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:]+)\)`)
	for _, doc := range []string{"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/design.md"} {
		text, err := os.ReadFile("../../../" + doc)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if _, err := os.Stat(filepath.Join("../../..", filepath.Dir(doc), m[1])); err != nil {
				t.Errorf("%s links to %s: %v", doc, m[1], err)
			}
		}
	}
}
