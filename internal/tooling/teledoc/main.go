// Command teledoc writes docs/telemetry.md: every span, metric and event that Go OS emits, with its attributes.
//
// The tables are generated. Each package runs, on a real SDK, through the situations that its telemetry distinguishes (success, error,
// panic, time-out, refusal). The command records the data that reaches the SDK.
//
//	go run ./internal/tooling/teledoc           write docs/telemetry.md
//	go run ./internal/tooling/teledoc -check    fail if it is stale
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
)

func main() {
	file := flag.String("file", "docs/telemetry.md", "the document")
	check := flag.Bool("check", false, "compare instead of writing")
	flag.Parse()
	if err := run(*file, *check); err != nil {
		fmt.Fprintln(os.Stderr, "teledoc:", err)
		os.Exit(1)
	}
}

func run(file string, check bool) error {
	made, err := render(context.Background())
	if err != nil {
		return err
	}
	if !check {
		return os.WriteFile(file, made, 0o644)
	}
	held, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if !bytes.Equal(held, made) {
		return fmt.Errorf("%s is stale: run `go generate` in internal/tooling/teledoc", file)
	}
	fmt.Println(file + " is fresh")
	return nil
}

const head = `# Telemetry

Every span, metric and event that Go OS emits. Written by %sgo generate ./...%s from what reaches an SDK when
each package succeeds and fails; CI checks that it is fresh. Names follow the OpenTelemetry semantic conventions v1.43; what they do not
name is under %sgoos.*%s. An attribute in parentheses is there only when it applies, such as error.type.
`

func render(ctx context.Context) ([]byte, error) {
	var out bytes.Buffer
	fmt.Fprintf(&out, head, "`", "`", "`", "`")
	for _, s := range situations {
		r := newRecord()
		if err := s.run(ctx, r); err != nil {
			return nil, fmt.Errorf("%s: %w", s.pkg, err)
		}
		if err := r.collect(ctx); err != nil {
			return nil, fmt.Errorf("%s: %w", s.pkg, err)
		}
		fmt.Fprintf(&out, "\n## %s\n", s.pkg)
		spans(&out, r.spans)
		instruments(&out, r.metrics)
		events(&out, r.events)
	}
	return out.Bytes(), nil
}

func spans(out *bytes.Buffer, table map[row]*attrs) {
	heading(out, table, "| span, as seen | kind | attributes |\n|---|---|---|\n")
	for _, key := range ordered(table) {
		fmt.Fprintf(out, "| %s | %s | %s |\n", key.name, key.kind, cell(table[key]))
	}
}

func instruments(out *bytes.Buffer, table map[row]*attrs) {
	heading(out, table, "| metric | instrument | unit | attributes | meaning |\n|---|---|---|---|---|\n")
	for _, key := range ordered(table) {
		fmt.Fprintf(out, "| `%s` | %s | %s | %s | %s |\n", key.name, key.kind, key.unit, cell(table[key]), key.description)
	}
}

func events(out *bytes.Buffer, table map[row]*attrs) {
	heading(out, table, "| event | severity | attributes |\n|---|---|---|\n")
	for _, key := range ordered(table) {
		fmt.Fprintf(out, "| `%s` | %s | %s |\n", key.name, key.kind, cell(table[key]))
	}
}

func heading(out *bytes.Buffer, table map[row]*attrs, text string) {
	if len(table) > 0 {
		out.WriteString("\n" + text)
	}
}

func ordered(table map[row]*attrs) []row {
	return slices.SortedFunc(maps.Keys(table), func(a, b row) int {
		return strings.Compare(a.name+a.kind, b.name+b.kind)
	})
}

func cell(a *attrs) string {
	keys, always := a.list()
	var words []string
	for _, k := range keys {
		if always(k) {
			words = append(words, fmt.Sprintf("`%s`", k))
		} else {
			words = append(words, fmt.Sprintf("(`%s`)", k))
		}
	}
	return strings.Join(words, ", ")
}
