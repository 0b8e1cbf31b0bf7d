package arch_test

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
)

const repository = "../../.."

// TestREADME checks that the program in the README is the compiled one, and that it is near enough to the top to be seen.
func TestREADME(t *testing.T) {
	readme := readDocument(t, "README.md")
	program := readDocument(t, "examples/hello/main.go")
	before, rest, _ := strings.Cut(readme, "```go\n")
	shown, _, found := strings.Cut(rest, "```")
	if !found || shown != program {
		t.Error("the first program in README.md is not examples/hello/main.go; copy it there")
	}
	if line := strings.Count(before, "\n") + 2; line >= 20 {
		t.Errorf("the program in README.md begins at line %d, want before 20", line)
	}
	for _, command := range []string{"go get " + "github.com/go-os/go-os", "go run ./examples/shop", "go test ./..."} {
		if !strings.Contains(readme, command) {
			t.Errorf("README.md does not name the command %q", command)
		}
	}
}

// TestSnippets checks that the other programs in the README are short, with one each for telemetry and the capabilities.
func TestSnippets(t *testing.T) {
	blocks := programs(readDocument(t, "README.md"))
	for _, constructor := range []string{"trace.New(", "kv.New(", "sync.New(", "config.Load["} {
		if !strings.Contains(strings.Join(blocks[1:], ""), constructor) {
			t.Errorf("no program of README.md calls %s…)", constructor)
		}
	}
	for _, block := range blocks[1:] {
		if lines := strings.Count(block, "\n"); lines > 8 {
			t.Errorf("a program of README.md has %d lines, want 8 at most:\n%s", lines, block)
		}
	}
}

// TestTablesFitAScreen checks that table rows in the README and the guides fit into a terminal.
func TestTablesFitAScreen(t *testing.T) {
	for _, doc := range append(guides(t), "README.md") {
		for number, line := range strings.Split(readDocument(t, doc), "\n") {
			if width := len([]rune(line)); strings.HasPrefix(line, "|") && width > 100 {
				t.Errorf("%s:%d: the row has %d columns, want 100 at most", doc, number+1, width)
			}
		}
	}
}

// TestProgramsAreCompiled checks that each program in the README and the guides is compiled. Each must be found, indented or not, in a file
// of examples, or of the module that has the instrumentation of others.
func TestProgramsAreCompiled(t *testing.T) {
	sources := compiled(t, os.DirFS(repository), "examples", "internal/tooling/bench")
	for _, doc := range append(guides(t), "README.md") {
		for _, block := range programs(readDocument(t, doc)) {
			if !shownIn(block, sources) {
				t.Errorf("%s: no file below examples or internal/tooling/bench has this program:\n%s", doc, block)
			}
		}
	}
}

// TestProgramsThatAreNotCompiled adds one program at a time and checks whether it is found.
func TestProgramsThatAreNotCompiled(t *testing.T) {
	sources := compiled(t, fstest.MapFS{
		"examples/a/a.go":          {Data: []byte("package a\n\nfunc f() {\n\tif true {\n\t\tg()\n\n\t\th()\n\t}\n}\n")},
		"examples/a/ignored.go":    {Data: []byte("//go:build ignore\n\npackage a\n\nfunc ignored() {}\n")},
		"examples/a/testdata/b.go": {Data: []byte("package b\n\nfunc data() {}\n")},
		"examples/a/a.txt":         {Data: []byte("func text() {}\n")},
	}, "examples")
	for block, want := range map[string]bool{
		"func f() {\n":           true,
		"if true {\n\tg()\n":     true,
		"g()\n\nh()\n":           true,
		"g()\nh()\n":             false,
		"g() // and\n":           false,
		"rue {\n":                false,
		"if true {\n\t\tg()\n":   false,
		"func ignored() {}\n":    false,
		"func data() {}\n":       false,
		"func text() {}\n":       false,
		"if true {\n\tg(\"\")\n": false,
	} {
		if shownIn(block, sources) != want {
			t.Errorf("found %t, want %t:\n%s", !want, want, block)
		}
	}
}

// TestMigrationTables checks that the tables of the guide are those that internal/tooling/bench measures.
func TestMigrationTables(t *testing.T) {
	const guide = "docs/guides/from-otelhttp-otelgrpc.md"
	text := readDocument(t, guide)
	for _, table := range strings.Split(readDocument(t, "internal/tooling/bench/testdata/migration.md"), "\n\n") {
		if !strings.Contains(text, strings.TrimSpace(table)+"\n\n") {
			t.Errorf("%s does not have this table of internal/tooling/bench/testdata/migration.md:\n%s", guide, table)
		}
	}
}

// TestLinks finds broken links between our documents: to a file, a heading or a test that does not exist.
func TestLinks(t *testing.T) {
	for _, doc := range append(guides(t), "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/design.md") {
		for _, problem := range brokenLinks(os.DirFS(repository), doc, readDocument(t, doc)) {
			t.Error(problem)
		}
	}
}

// TestBrokenLinks adds one link at a time.
func TestBrokenLinks(t *testing.T) {
	tree := fstest.MapFS{
		"docs/a.md":   {Data: []byte("# A\n\n## Locks, elections\n\n```sh\n# no heading\n```\n")},
		"x/x_test.go": {Data: []byte("package x\n\nfunc TestThere(t *testing.T) {}\n")},
	}
	for link, want := range map[string]string{
		"[a](a.md)":                       "",
		"[a](a.md#locks-elections)":       "",
		"[a](#a)":                         "",
		"[a](https://example.com/x#y)":    "",
		"[TestThere](../x/x_test.go)":     "",
		"[a](b.md)":                       "docs/b.md",
		"[a](a.md#locks)":                 "#locks",
		"[a](a.md#no-heading)":            "#no-heading",
		"[a](#b)":                         "#b",
		"[TestMissing](../x/x_test.go)":   "TestMissing",
		"[TestThereOnce](../x/x_test.go)": "TestThereOnce",
	} {
		got := strings.Join(brokenLinks(tree, "docs/a.md", link), "\n")
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want a complaint about %q", link, got, want)
		}
	}
}

// guides are the documents of docs/guides.
func guides(t *testing.T) []string {
	t.Helper()
	found, err := fs.Glob(os.DirFS(repository), "docs/guides/*.md")
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func readDocument(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(repository, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// programs returns the Go programs of a document.
func programs(document string) []string {
	var blocks []string
	for _, block := range regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(document, -1) {
		blocks = append(blocks, block[1])
	}
	return blocks
}

// compiled returns the Go files below some folders. It leaves out files with build constraints and testdata, because the compiler may not
// see those.
func compiled(t *testing.T, root fs.FS, folders ...string) []string {
	t.Helper()
	var sources []string
	for _, folder := range folders {
		err := fs.WalkDir(root, folder, func(name string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir() && d.Name() == "testdata":
				return fs.SkipDir
			case d.IsDir() || path.Ext(name) != ".go":
				return nil
			}
			text, err := fs.ReadFile(root, name)
			if err == nil && !strings.Contains("\n"+string(text), "\n//go:build ") {
				sources = append(sources, "\n"+string(text))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return sources
}

// shownIn reports whether one of the sources has the block, line by line, at some indentation.
func shownIn(block string, sources []string) bool {
	lines := strings.SplitAfter(block, "\n")
	for indentation := range 5 {
		var text strings.Builder
		text.WriteString("\n")
		for _, line := range lines {
			if line != "" && line != "\n" {
				text.WriteString(strings.Repeat("\t", indentation))
			}
			text.WriteString(line)
		}
		for _, source := range sources {
			if strings.Contains(source, text.String()) {
				return true
			}
		}
	}
	return false
}

// brokenLinks returns what is wrong with the links of a document. A link whose text is a test's name must lead to a file that has the test.
func brokenLinks(root fs.FS, doc, text string) []string {
	var problems []string
	for _, m := range regexp.MustCompile(`\[([^\]]*)\]\(([^):]+)\)`).FindAllStringSubmatch(text, -1) {
		file, heading, _ := strings.Cut(m[2], "#")
		target := doc
		if file != "" {
			target = path.Join(path.Dir(doc), file)
		}
		info, err := fs.Stat(root, target)
		if err != nil {
			problems = append(problems, fmt.Sprintf("%s links to %s: %v", doc, target, err))
			continue
		}
		if info.IsDir() {
			continue
		}
		body, err := fs.ReadFile(root, target)
		switch {
		case err != nil:
			problems = append(problems, fmt.Sprintf("%s links to %s: %v", doc, target, err))
		case heading != "" && !headings(string(body))[heading]:
			problems = append(problems, fmt.Sprintf("%s links to %s#%s: no such heading", doc, target, heading))
		case strings.HasPrefix(m[1], "Test") && !strings.Contains(string(body), "\nfunc "+m[1]+"("):
			problems = append(problems, fmt.Sprintf("%s links to %s in %s: no such test", doc, m[1], target))
		}
	}
	return problems
}

// headings returns the headings of a document, as GitHub names them in links.
func headings(document string) map[string]bool {
	names := make(map[string]bool)
	document = regexp.MustCompile("(?ms)^```.*?^```$").ReplaceAllString(document, "")
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(document, -1) {
		name := regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(strings.ToLower(m[1]), "")
		names[strings.ReplaceAll(name, " ", "-")] = true
	}
	return names
}
