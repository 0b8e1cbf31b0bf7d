package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"time"

	"github.com/go-os/go-os/control/discovery/driver"
	"github.com/go-os/go-os/state/kv"
)

// drain orders an instance to drain, and waits until it does.
func drain(set *flag.FlagSet) action {
	keep := set.Duration("for", 24*time.Hour, "how long the order holds, unless the process ends before")
	return func(ctx context.Context, t *tool, args []string) error {
		if *keep <= 0 {
			return fmt.Errorf("-for is %s: give a positive duration: %w", *keep, errUsage)
		}
		return t.order(ctx, args, driver.Draining, func(ctx context.Context, d driver.Drainer) error {
			return d.Drain(ctx, args[0], args[1], *keep)
		})
	}
}

// undrain cancels the order, and waits until the instance takes requests.
func undrain(*flag.FlagSet) action {
	return func(ctx context.Context, t *tool, args []string) error {
		return t.order(ctx, args, driver.Up, func(ctx context.Context, d driver.Drainer) error {
			return d.Undrain(ctx, args[0], args[1])
		})
	}
}

// order gives an order, and waits until the record of the instance shows that its process follows it.
func (t *tool) order(ctx context.Context, args []string, want driver.State, give func(context.Context, driver.Drainer) error) error {
	if len(args) != 2 {
		return fmt.Errorf("name a service and the ID of an instance: %w", errUsage)
	}
	d, ok := t.Reader.(driver.Drainer)
	if !ok {
		return fmt.Errorf("%s cannot drain an instance from outside: drain it in its process, or with the tools of %[1]s: %[2]w", t.System(), errors.ErrUnsupported)
	}
	ctx, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	service, id := args[0], args[1]
	if err := give(ctx, d); err != nil {
		return t.unknown(err, service, id)
	}
	err := t.Watch(ctx, service, func(e driver.Event) error {
		switch {
		case e.Record.ID != id:
			return nil
		case e.Kind == driver.EventPut && e.Record.State == want:
			return errRead
		case e.Kind == driver.EventDelete, e.Kind == driver.EventPut && e.Record.State == driver.Gone:
			return fmt.Errorf("instance %q of %q has left: %w", id, service, driver.ErrNotFound)
		}
		return nil
	})
	switch {
	case errors.Is(err, errRead):
		fmt.Fprintf(t.out, "%s %s: %s\n", plain(service), plain(id), want)
		return nil
	case err == nil:
		return fmt.Errorf("the order is given, but the process of %q has not followed it within %s: is it alive, and up to date?", id, t.timeout)
	}
	return err
}

// unknown names the instance in the error of a store that has no record of it. It returns other errors unchanged.
func (t *tool) unknown(err error, service, id string) error {
	var read *kv.Error
	if errors.As(err, &read) && errors.Is(err, driver.ErrNotFound) {
		return fmt.Errorf("%s has no instance %q of service %q: check the names and the namespace: %w", t.System(), id, service, driver.ErrNotFound)
	}
	return err
}
