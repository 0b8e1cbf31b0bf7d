// Command driverdoc writes docs/drivers.md: the abilities of each driver. It reads the records that the conformance suites keep beside the
// drivers' tests. A test run with different results fails, so neither the records nor the tables can become stale.
//
//	go run ./internal/tooling/driverdoc
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-os/go-os/state/kv/driver"
	"github.com/go-os/go-os/state/kv/kvtest"
)

//go:generate go run . -root ../../..

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
	locks, err := readSync(filepath.Join(root, "state", "sync"))
	if err != nil {
		return err
	}
	registries, err := readDiscovery(filepath.Join(root, "control", "discovery"))
	if err != nil {
		return err
	}
	page := bytes.NewBuffer(render(drivers))
	renderSync(page, locks)
	renderDiscovery(page, registries)
	return os.WriteFile(filepath.Join(root, "docs", "drivers.md"), page.Bytes(), 0o644)
}

// proved is a driver and its record.
type proved struct {
	name    string
	setting string // of the record, if there is more than one
	kvtest.Record
}

// read returns the drivers of state/kv, in the order of their names.
func read(dir string) (all []proved, err error) {
	err = records(dir, func(name, setting string, content []byte) error {
		p := proved{name: name, setting: setting}
		err := json.Unmarshal(content, &p.Record)
		all = append(all, p)
		return err
	})
	return all, err
}

// records reads the records of a capability's drivers, in the order of their names.
func records(dir string, add func(name, setting string, content []byte) error) error {
	files, err := filepath.Glob(filepath.Join(dir, "*", "testdata", "contract*.json"))
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return errors.New("no records in " + dir)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		setting := strings.TrimPrefix(strings.TrimSuffix(filepath.Base(file), ".json"), "contract")
		name := filepath.Base(filepath.Dir(filepath.Dir(file)))
		if err := add(name, strings.ReplaceAll(setting, "-", " "), content); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	return nil
}

const head = `# Drivers

What each driver of %[1]sstate/kv%[1]s declares, and what the suite in %[1]sstate/kv/kvtest%[1]s proved of it on a real engine. A driver's test fails when
it proves anything else; %[1]sgo generate ./...%[1]s makes this page of the records beside those tests.

A dash is a refusal: the call returns %[1]serrors.ErrUnsupported%[1]s, and %[1]sstore.Require%[1]s says so at the start. An ability "by option"
is refused too, unless an option of the driver declares that the engine is set up for it.
`

func render(drivers []proved) []byte {
	var out bytes.Buffer
	fmt.Fprintf(&out, head, "`")
	abilities(&out, drivers)
	limits(&out, drivers)
	promises(&out, drivers)
	faults(&out, drivers)
	return out.Bytes()
}

func abilities(out *bytes.Buffer, drivers []proved) {
	out.WriteString("\n## Abilities\n\n")
	row(out, "driver", driver.AllAbilities().Each(), func(a driver.Ability) string { return a.String() })
	row(out, "---", driver.AllAbilities().Each(), func(driver.Ability) string { return "---" })
	for _, d := range plain(drivers) {
		row(out, "`"+d.name+"`", driver.AllAbilities().Each(), func(a driver.Ability) string { return d.ability(a.String()) })
	}
}

// ability returns a cell of the table of abilities.
func (p proved) ability(name string) string {
	if slices.Contains(p.ByOption, name) {
		return "by option"
	}
	return mark(p.has(name))
}

// plain leaves out the other settings of a driver, which declare the same abilities.
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

These are the limits of a driver without options. If an option sets a limit, its documentation says so. TTLs are rounded up to the
granularity. One outside the limits is refused. An item never disappears before its TTL ends. It may be seen after that for the lateness and
one granularity more, since an engine with a coarse clock may be a tick late.

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

// lateness returns how long after its time an item may still be seen.
func lateness(l kvtest.RecordTTL) string {
	if l.Stretch > 1 {
		return fmt.Sprintf("%d × TTL + %s", l.Stretch-1, span(l.MaxLateness))
	}
	return none(l.MaxLateness)
}

// none is span for a duration whose best value is zero.
func none(d string) string {
	if d == "0s" {
		return "none"
	}
	return span(d)
}

// span shortens the text of a Go duration.
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

How many promises of the suite each driver keeps, how many are about abilities that it refuses, and how many could not be tried
on its engine: there is nothing to kill in memory, and no leader among one.

| driver | engine | kept | refused | not tried |
|---|---|---:|---:|---:|
`)
	for _, d := range drivers {
		fmt.Fprintf(out, "| `%s` | %s%s | %d | %d | %d |\n", d.name, d.System, d.setting, len(d.Kept), len(d.Refused), len(d.Untried))
	}
}

// faults writes the faults that each engine was put through. It leaves out faults that no driver survives.
func faults(out *bytes.Buffer, drivers []proved) {
	out.WriteString(`
## Faults

What each driver comes through: ✓ it does, – it is about an ability that is refused; empty, its engine was not put through it. A storm
is all of an engine's faults at random: histories under it are accepted by a linearizability checker, and of the writes that were
acknowledged none is lost.

`)
	tried := slices.DeleteFunc(slices.Clone(drivers), func(d proved) bool { return !slices.ContainsFunc(d.Kept, isFault) })
	row(out, "", tried, func(d proved) string { return d.name + d.setting })
	row(out, "---", tried, func(proved) string { return "---" })
	for _, name := range names(tried) {
		row(out, strings.TrimPrefix(name, "faults/"), tried, func(d proved) string {
			switch {
			case slices.Contains(d.Kept, name):
				return mark(true)
			case slices.Contains(d.Refused, name):
				return mark(false)
			default:
				return ""
			}
		})
	}
}

func isFault(name string) bool {
	return strings.HasPrefix(name, "faults/") || strings.HasPrefix(name, "storm/")
}

// names returns the faults that at least one driver survives, in alphabetical order.
func names(drivers []proved) (all []string) {
	for _, d := range drivers {
		for _, name := range d.Kept {
			if isFault(name) && !slices.Contains(all, name) {
				all = append(all, name)
			}
		}
	}
	slices.Sort(all)
	return all
}
