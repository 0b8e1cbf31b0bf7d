package arch_test

import (
	"os"
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
