// Command driverdoc writes docs/drivers.md: what each driver can do, from the records that the conformance suites keep beside
// the drivers' tests. A run of the tests that proves anything else fails, so neither the records nor the tables can go stale.
//
//	go run ./internal/driverdoc
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-os/go-os/state/kv/driver"
	"github.com/go-os/go-os/state/kv/kvtest"
)

//go:generate go run . -root ../..

func main() {
	root := flag.String("root", ".", "the repository's root folder")
	flag.Parse()
	if err := run(*root); err != nil {
		fmt.Fprintln(os.Stderr, "driverdoc:", err)
		os.Exit(1)
	}
}

func run(root string) error {
	drivers, err := read(filepath.Join(root, "state", "kv"))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(root, "docs", "drivers.md"), render(drivers), 0o644)
}

// proved is a driver and its record.
type proved struct {
	name    string
	setting string // in which it was proved, if there is more than one
	kvtest.Record
}

// read returns the drivers of a capability, in the order of their names.
func read(dir string) ([]proved, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*", "testdata", "contract*.json"))
	if err != nil {
		return nil, err
	}
	var all []proved
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		p := proved{name: filepath.Base(filepath.Dir(filepath.Dir(file)))}
		p.setting = strings.ReplaceAll(strings.TrimPrefix(strings.TrimSuffix(filepath.Base(file), ".json"), "contract"), "-", " ")
		if err := json.Unmarshal(content, &p.Record); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		all = append(all, p)
	}
	if len(all) == 0 {
		return nil, errors.New("no records in " + dir)
	}
	return all, nil
}

const head = `# Drivers

What each driver of %[1]sstate/kv%[1]s declares, and what the suite in %[1]sstate/kv/kvtest%[1]s proved of it on a real engine. A driver's test fails when
it proves anything else; %[1]sgo generate ./...%[1]s makes this page of the records beside those tests.

A dash is a refusal: the call returns %[1]serrors.ErrUnsupported%[1]s, and %[1]sstore.Require%[1]s says so at the start.
`

func render(drivers []proved) []byte {
	var out bytes.Buffer
	fmt.Fprintf(&out, head, "`")
	abilities(&out, drivers)
	limits(&out, drivers)
	promises(&out, drivers)
	return out.Bytes()
}

func abilities(out *bytes.Buffer, drivers []proved) {
	out.WriteString("\n## Abilities\n\n")
	row(out, "driver", driver.AllAbilities().Each(), func(a driver.Ability) string { return a.String() })
	row(out, "---", driver.AllAbilities().Each(), func(driver.Ability) string { return "---" })
	for _, d := range plain(drivers) {
		row(out, "`"+d.name+"`", driver.AllAbilities().Each(), func(a driver.Ability) string { return mark(d.has(a.String())) })
	}
}

// plain leaves out the other settings of a driver: it declares the same in all.
func plain(drivers []proved) []proved {
	return slices.DeleteFunc(slices.Clone(drivers), func(d proved) bool { return d.setting != "" })
}

func (p proved) has(ability string) bool { return slices.Contains(p.Abilities, ability) }

func mark(yes bool) string {
	if yes {
		return "✓"
	}
	return "–"
}

// row writes one row of a table.
func row[T any](out *bytes.Buffer, first string, cells []T, text func(T) string) {
	fmt.Fprintf(out, "| %s |", first)
	for _, c := range cells {
		fmt.Fprintf(out, " %s |", text(c))
	}
	out.WriteByte('\n')
}

func limits(out *bytes.Buffer, drivers []proved) {
	out.WriteString(`
## Limits

As tested; where an option sets a limit, its documentation says so. An item with a TTL is never gone before its time, and seen
no longer after it than the lateness. TTLs are rounded up to the granularity; one outside of the limits is refused.

| driver | key | value | batch | TTL from | to | granularity | lateness |
|---|---|---|---|---|---|---|---|
`)
	for _, d := range plain(drivers) {
		fmt.Fprintf(out, "| `%s` | %s | %s | %s | %s | %s | %s | %s |\n", d.name, size(d.MaxKey), size(d.MaxValue), count(d.MaxBatch, d.has("batch")),
			span(d.TTL.Min), span(d.TTL.Max), none(d.TTL.Granularity), lateness(d.TTL))
	}
}

func size(n int) string {
	switch {
	case n == 0:
		return "any"
	case n%(1<<20) == 0:
		return fmt.Sprintf("%d MiB", n>>20)
	case n%(1<<10) == 0:
		return fmt.Sprintf("%d KiB", n>>10)
	default:
		return fmt.Sprintf("%d B", n)
	}
}

func count(n int, declared bool) string {
	switch {
	case !declared:
		return "–"
	case n == 0:
		return "any"
	default:
		return fmt.Sprint(n)
	}
}

// lateness is how long after its time an item may be seen.
func lateness(l kvtest.RecordTTL) string {
	if l.Stretch > 1 {
		return fmt.Sprintf("%d × TTL + %s", l.Stretch-1, span(l.MaxLateness))
	}
	return none(l.MaxLateness)
}

// none is span for what is best if it is nothing.
func none(d string) string {
	if d == "0s" {
		return "none"
	}
	return span(d)
}

// span shortens a duration as Go writes it.
func span(d string) string {
	switch d {
	case "":
		return "–"
	case "0s":
		return "any"
	}
	return strings.TrimSuffix(d, "0m0s")
}

func promises(out *bytes.Buffer, drivers []proved) {
	out.WriteString(`
## Promises

How many promises of the suite each driver keeps, how many are about abilities that it refuses, and which could not be tried on
its engine, by what is missing for it. The faults among those that it keeps are named; "storm" is all of an engine's faults at
random, under histories that a linearizability checker accepts and under writes of which none that was acknowledged is lost.

| driver | engine | kept | refused | faults survived | not tried |
|---|---|---|---|---|---|
`)
	for _, d := range drivers {
		fmt.Fprintf(out, "| `%s` | %s%s | %d | %d | %s | %s |\n", d.name, d.System, d.setting, len(d.Kept), len(d.Refused), list(faults(d.Kept)), untried(d))
	}
}

// faults returns the promises that are kept under faults, without their heading.
func faults(kept []string) (names []string) {
	for _, name := range kept {
		if fault, ok := strings.CutPrefix(name, "faults/"); ok {
			names = append(names, fault)
		}
	}
	if slices.ContainsFunc(kept, func(name string) bool { return strings.HasPrefix(name, "storm/") }) {
		names = append(names, "storm")
	}
	return names
}

// untried counts the promises that could not be checked, by the hook that is missing.
func untried(p proved) string {
	hooks := map[string]int{}
	for _, hook := range p.Untried {
		hooks[hook]++
	}
	var words []string
	for _, hook := range slices.Sorted(maps.Keys(hooks)) {
		words = append(words, fmt.Sprintf("%d of %s", hooks[hook], hook))
	}
	return list(words)
}

func list(names []string) string {
	if len(names) == 0 {
		return "–"
	}
	return strings.Join(names, "; ")
}
