package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/go-os/go-os/control/discovery/discoverytest"
)

// registry is a driver of control/discovery and its record.
type registry struct {
	name    string
	setting string
	discoverytest.Record
}

// readDiscovery returns the drivers of control/discovery, in the order of their names.
func readDiscovery(dir string) (all []registry, err error) {
	err = records(dir, func(name, setting string, content []byte) error {
		r := registry{name: name, setting: setting}
		err := json.Unmarshal(content, &r.Record)
		all = append(all, r)
		return err
	})
	return all, err
}

// title names a driver, with the engine if it has several.
func (r registry) title() string { return r.name + r.setting }

func (r registry) has(ability string) bool { return slices.Contains(r.Abilities, ability) }

// renderDiscovery writes the abilities of the drivers of control/discovery.
func renderDiscovery(out *bytes.Buffer, drivers []registry) {
	fmt.Fprintf(out, `
# Discovery

What each driver of %[1]scontrol/discovery%[1]s can do, and what the suite in %[1]scontrol/discovery/discoverytest%[1]s proved of it on a real engine.
%[1]skvdiscovery%[1]s runs on every driver of %[1]sstate/kv%[1]s with the abilities cas, expiry and watch; it was tried on these.
%[1]sreadnodediscovery%[1]s reads what its read nodes have read from one of the other registries.

- goodbyes: readers see that an instance has deregistered, and remove it at once.
- incarnations: of two processes with one service and ID, the one that started later stays.
- names: services and IDs may have every character that the package accepts.
- polls: requests per second of an idle watch, without options.

`, "`")
	abilities := []string{"writes", "reads", "goodbyes", "incarnations", "names"}
	head := slices.Concat(abilities, []string{"TTL from", "to", "record", "polls"})
	row(out, "driver", head, func(s string) string { return s })
	row(out, "---", head, func(string) string { return "---" })
	for _, d := range drivers {
		cells := []string{span(d.MinTTL), span(d.MaxTTL), size(d.MaxRecord), polls(d.Polls)}
		row(out, "`"+d.name+"`"+d.setting, slices.Concat(abilities, cells), func(cell string) string {
			if slices.Contains(abilities, cell) {
				return mark(d.has(cell))
			}
			return cell
		})
	}
	fmt.Fprint(out, `
A fleet is three processes with a lease each, and a reader. The fault outlasts every lease: the reader keeps all three, and all are registered
again within one TTL of the engine's return. A dash is about an ability that the registry lacks; an empty cell was not tried.

`)
	row(out, "", drivers, registry.title)
	row(out, "---", drivers, func(registry) string { return "---" })
	row(out, "promises kept", drivers, func(d registry) string { return fmt.Sprint(len(d.Kept)) })
	row(out, "refused", drivers, func(d registry) string { return fmt.Sprint(len(d.Refused)) })
	row(out, "not tried", drivers, func(d registry) string { return fmt.Sprint(len(d.Untried)) })
	for _, name := range discoveryFaults(drivers) {
		row(out, strings.TrimPrefix(name, "faults/"), drivers, func(d registry) string {
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

// polls returns the cell of a number of requests per second.
func polls(perSecond float64) string {
	if perSecond == 0 {
		return "none"
	}
	return fmt.Sprintf("%.3g", perSecond)
}

// discoveryFaults returns the faults that at least one driver survives, in alphabetical order.
func discoveryFaults(drivers []registry) (all []string) {
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
