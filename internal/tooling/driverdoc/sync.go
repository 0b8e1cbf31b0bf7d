package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/go-os/go-os/state/sync/synctest"
)

// locking is a driver of state/sync and its record.
type locking struct {
	name    string
	setting string
	synctest.Record
}

// readSync returns the drivers of state/sync, in the order of their names.
func readSync(dir string) (all []locking, err error) {
	err = records(dir, func(name, setting string, content []byte) error {
		l := locking{name: name, setting: setting}
		err := json.Unmarshal(content, &l.Record)
		all = append(all, l)
		return err
	})
	return all, err
}

// renderSync writes the abilities of the drivers of state/sync.
func renderSync(out *bytes.Buffer, drivers []locking) {
	fmt.Fprintf(out, `
# Locks, elections, semaphores

What each driver of %[1]sstate/sync%[1]s declares, and what the suite in %[1]sstate/sync/synctest%[1]s proved of it on a real engine. %[1]ssession.Require%[1]s asks for a
class at the start. A seat of a process that died is free after its TTL, and no later than the bound, which the suite measures.

| driver | class | in order | TTL from | to | step | a dead holder is replaced within | name | value |
|---|---|---|---|---|---|---|---|---|
`, "`")
	for _, d := range drivers {
		if d.setting != "" {
			continue
		}
		bound := "TTL"
		if d.Stretch > 1 {
			bound = fmt.Sprintf("%d × TTL", d.Stretch)
		}
		fmt.Fprintf(out, "| `%s` | %s | %s | %s | %s | %s | %s + %s | %s | %s |\n", d.name, d.Safety, mark(d.Ordered),
			span(d.MinTTL), span(d.MaxTTL), none(d.Granularity), bound, span(d.MaxLateness), size(d.MaxName), size(d.MaxValue))
	}
	out.WriteString(`
A storm is all of an engine's faults at random, with processes that are stopped and leases that are revoked among them, while several contend for
one lock: no two believe at one time that they hold it, and what they do to a register under it is accepted by a linearizability checker.

`)
	row(out, "", drivers, func(d locking) string { return d.name + d.setting })
	row(out, "---", drivers, func(locking) string { return "---" })
	row(out, "promises kept", drivers, func(d locking) string { return fmt.Sprint(len(d.Kept)) })
	row(out, "not tried", drivers, func(d locking) string { return fmt.Sprint(len(d.Untried)) })
	var names []string
	for _, d := range drivers {
		for _, name := range d.Kept {
			if isFault(name) && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	for _, name := range names {
		row(out, strings.TrimPrefix(strings.TrimPrefix(name, "faults/"), "storm/"), drivers, func(d locking) string {
			if slices.Contains(d.Kept, name) {
				return mark(true)
			}
			return ""
		})
	}
}
