package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/go-os/go-os/control/discovery/driver"
)

// list prints a table of instances.
func list(set *flag.FlagSet) action {
	gone := set.Bool("all", false, "also show instances that have deregistered")
	return func(ctx context.Context, t *tool, args []string) error {
		ctx, cancel := context.WithTimeout(ctx, t.timeout)
		defer cancel()
		services, err := t.services(ctx, args)
		if err != nil {
			return err
		}
		table := tabwriter.NewWriter(t.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "SERVICE\tINSTANCE\tSTATE\tAGE\tVERSION\tZONE\tWEIGHT\tADDRESSES")
		var unknown []error
		for _, service := range services {
			c, err := t.read(ctx, service)
			if err != nil {
				return err
			}
			if len(c.records)+len(c.invalid) == 0 && len(args) > 0 {
				unknown = append(unknown, fmt.Errorf("%s has no instance of service %q: check the name, and the namespace if there is one", t.System(), service))
			}
			c.rows(table, *gone)
		}
		return errors.Join(append(unknown, table.Flush())...)
	}
}

// content holds the records of a service in a registry.
type content struct {
	service string
	records map[string]driver.Record // by ID
	invalid map[string]error         // by place
}

func newContent(service string) *content {
	return &content{service: service, records: map[string]driver.Record{}, invalid: map[string]error{}}
}

// errRead ends a watch after its snapshot is complete.
var errRead = errors.New("the snapshot is complete")

// read returns the records of a service in the registry.
func (t *tool) read(ctx context.Context, service string) (*content, error) {
	c := newContent(service)
	var lost error
	err := t.Watch(ctx, service, func(e driver.Event) error {
		switch e.Kind {
		case driver.EventSynced:
			return errRead
		case driver.EventLost:
			lost = e.Err
		default:
			c.apply(e)
		}
		return nil
	})
	switch {
	case errors.Is(err, errRead):
		return c, nil
	case err == nil: // ctx has ended
		return nil, fmt.Errorf("%s did not answer in time: %w", t.System(), errors.Join(context.Cause(ctx), lost))
	}
	return nil, err
}

// apply keeps an event about a record.
func (c *content) apply(e driver.Event) {
	id := e.Record.ID
	switch e.Kind {
	case driver.EventPut:
		c.records[id] = e.Record
		delete(c.invalid, id)
	case driver.EventInvalid:
		c.invalid[id] = e.Err
	case driver.EventDelete:
		delete(c.records, id)
		delete(c.invalid, id)
	}
}

// rows writes a row for each instance.
func (c *content) rows(table *tabwriter.Writer, gone bool) {
	for _, id := range slices.Sorted(maps.Keys(c.records)) {
		r := c.records[id]
		if r.State == driver.Gone && !gone {
			continue
		}
		fmt.Fprintln(table, strings.Join(row(r), "\t"))
	}
	for _, place := range slices.Sorted(maps.Keys(c.invalid)) {
		fmt.Fprintf(table, "%s\t%s\tinvalid: %s\n", plain(c.service), plain(place), plain(c.invalid[place].Error()))
	}
}

// row returns the columns of an instance.
func row(r driver.Record) []string {
	return []string{
		plain(r.Service), plain(r.ID), r.State.String(), age(r), orDash(r.Version), orDash(r.Zone), strconv.Itoa(r.Weight), addresses(r),
	}
}

// age returns for how long the process has been registered. The epoch of a record is the time of the registration in milliseconds, or one
// more than the previous process's epoch.
func age(r driver.Record) string {
	since := time.Since(time.UnixMilli(int64(r.Epoch)))
	if r.Epoch == 0 || since < 0 {
		return "-"
	}
	text := since.Round(time.Second).String()
	if since >= 48*time.Hour {
		text = strconv.Itoa(int(since.Hours()/24)) + "d"
	}
	return text
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return plain(text)
}

func addresses(r driver.Record) string {
	var all []string
	for _, protocol := range slices.Sorted(maps.Keys(r.Addresses)) {
		all = append(all, plain(protocol+"="+r.Addresses[protocol]))
	}
	return strings.Join(all, " ")
}
