package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/go-os/go-os/control/config"
	"github.com/go-os/go-os/control/config/versions"
	"github.com/go-os/go-os/state/kv"
)

func status(*flag.FlagSet) action {
	return func(ctx context.Context, t *tool, args []string) error {
		if err := none(args); err != nil {
			return err
		}
		ctx, cancel := t.bounded(ctx)
		defer cancel()
		head, err := t.versions.Head(ctx)
		if err != nil {
			return err
		}
		instances, err := t.versions.Instances(ctx)
		if err != nil {
			return err
		}
		tab := tabwriter.NewWriter(t.out, 0, 0, 2, ' ', 0)
		_, _ = fmt.Fprintf(tab, "in force: version %d\n", head.Stable)
		if r := head.Rollout; r != nil {
			_, _ = fmt.Fprintf(tab, "candidate: version %d, for %v %% of the instances\n", r.Candidate, r.Percent)
			for _, s := range r.Steps {
				_, _ = fmt.Fprintf(tab, "  %s\t%s\t%v %%\t%s\t%s\n", s.Time.Local().Format(time.DateTime), s.Action, s.Percent, field(s.Author), field(s.Reason))
			}
		}
		_, _ = fmt.Fprintf(tab, "instances that report: %d\n", len(instances))
		for _, one := range instances {
			_, _ = fmt.Fprintf(tab, "  %s\tversion %d\t%s\n", field(one.Name), one.Version, refusal(one))
		}
		return tab.Flush()
	}
}

func refusal(i versions.Instance) string {
	if i.Rejected == 0 {
		return ""
	}
	return fmt.Sprintf("refuses version %d: %s", i.Rejected, field(i.Reason))
}

func advance(set *flag.FlagSet) action {
	message := set.String("message", "", "why")
	return func(ctx context.Context, t *tool, args []string) error {
		if len(args) != 1 {
			return fmt.Errorf("advance takes the percentage of the instances: %w", errUsage)
		}
		percent, err := strconv.ParseFloat(strings.TrimSuffix(args[0], "%"), 64)
		if err != nil {
			return fmt.Errorf("%q is no percentage: %w", args[0], errUsage)
		}
		ctx, cancel := t.bounded(ctx)
		defer cancel()
		return t.said(t.versions.Advance(ctx, percent, t.author, *message), "the candidate is in force for %v %% of the instances", min(percent, 100))
	}
}

// ending returns the flags function of a command that ends a rollout.
func ending(done string, end func(v *versions.Layer, ctx context.Context, author, reason string) error) func(*flag.FlagSet) action {
	return func(set *flag.FlagSet) action {
		message := set.String("message", "", "why")
		return func(ctx context.Context, t *tool, args []string) error {
			if err := none(args); err != nil {
				return err
			}
			ctx, cancel := t.bounded(ctx)
			defer cancel()
			return t.said(end(t.versions, ctx, t.author, *message), "%s", done)
		}
	}
}

func guide(set *flag.FlagSet) action {
	plan := versions.Plan{}
	stages := set.String("stages", "5:10m,25:10m,50:10m", "percentages, and how long each lasts at least; after the last the candidate is promoted")
	health := set.String("health", "", `URL that says how the canaries are since it was last asked: {"canary": {"total": 200, "failed": 1}, "stable": {"total": 2000, "failed": 9}}`)
	set.DurationVar(&plan.Every, "every", versions.DefaultHealthWindow, "how often the instances and -health are asked")
	set.Uint64Var(&plan.MinSample, "min-sample", versions.DefaultMinSample, "how many requests of the canaries are needed to judge them")
	return func(ctx context.Context, t *tool, args []string) (err error) {
		if err := none(args); err != nil {
			return err
		}
		if plan.Stages, err = parseStages(*stages); err != nil {
			return err
		}
		if *health != "" {
			plan.Health = func(ctx context.Context) (versions.Health, error) {
				ctx, cancel := t.bounded(ctx) // a monitor that hangs must not delay an abort after a rejection by an instance
				defer cancel()
				return ask(ctx, *health)
			}
		}
		plan.Author = t.author
		plan.OnWait = func(why string) {
			_, _ = fmt.Fprintf(t.err, "the rollout waits: %s; go on by hand with advance or promote, or abort it\n", why)
		}
		following, stop := context.WithCancel(ctx)
		told := make(chan struct{})
		go func() {
			defer close(told)
			t.tellSteps(following)
		}()
		err = t.versions.RunRollout(ctx, plan)
		stop()
		<-told
		return t.said(err, "the candidate is in force for all instances")
	}
}

func parseStages(text string) (stages []versions.Stage, err error) {
	for part := range strings.SplitSeq(text, ",") {
		percent, lasts, _ := strings.Cut(strings.TrimSpace(part), ":")
		var s versions.Stage
		s.Percent, err = strconv.ParseFloat(strings.TrimSuffix(percent, "%"), 64)
		if err == nil {
			s.For, err = time.ParseDuration(lasts)
		}
		if err != nil {
			return nil, fmt.Errorf("-stages: %q is not PERCENT:DURATION, such as 25:10m: %w", part, errUsage)
		}
		stages = append(stages, s)
	}
	return stages, nil
}

// ask fetches the health of the canaries.
func ask(ctx context.Context, url string) (h versions.Health, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return h, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return h, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return h, errors.New(resp.Status)
	}
	return h, json.NewDecoder(io.LimitReader(resp.Body, 1<<16)).Decode(&h)
}

// tellSteps prints each step of the rollout.
func (t *tool) tellSteps(ctx context.Context) {
	said := 0
	for range t.heads(ctx) {
		head, err := t.versions.Head(ctx)
		if err != nil || head.Rollout == nil {
			continue
		}
		for _, s := range head.Rollout.Steps[min(said, len(head.Rollout.Steps)):] {
			_, _ = fmt.Fprintf(t.out, "%s  version %d  %s %v %% by %s  %s\n", s.Time.Local().Format(time.TimeOnly), head.Rollout.Candidate, s.Action, s.Percent, field(s.Author), field(s.Reason))
		}
		said = len(head.Rollout.Steps)
	}
}

// heads yields whenever the head may have changed.
func (t *tool) heads(ctx context.Context) func(yield func(struct{}) bool) {
	return func(yield func(struct{}) bool) {
		for event, err := range t.store.Namespace(t.layer).Watch(ctx, "head") {
			switch {
			case err != nil:
				return
			case event.Kind == kv.EventLost:
				_, _ = fmt.Fprintln(t.err, "the connection to the store is lost; waiting for it to come back")
			case event.Kind == kv.EventPut || event.Kind == kv.EventDelete || event.Kind == kv.EventSynced:
				if !yield(struct{}{}) {
					return
				}
			}
		}
	}
}

func watch(*flag.FlagSet) action {
	return func(ctx context.Context, t *tool, args []string) error {
		if err := none(args); err != nil {
			return err
		}
		if err := t.store.Require(kv.Watch); err != nil {
			return fmt.Errorf("watch needs a store that reports changes, such as etcd:// or consul://; with this one, repeat status: %w", err)
		}
		var last versions.Head
		empty := false
		for range t.heads(ctx) {
			head, err := t.versions.Head(ctx)
			if err != nil && !errors.Is(err, config.ErrNotFound) {
				_, _ = fmt.Fprintln(t.err, err)
				continue
			}
			if err != nil && !empty {
				_, _ = fmt.Fprintln(t.err, t.nothing()+"; waiting for the first version")
			}
			empty = err != nil
			if err := t.tellChange(ctx, last, head); err != nil && ctx.Err() == nil {
				_, _ = fmt.Fprintln(t.err, err)
			}
			last = head
		}
		return nil
	}
}

// tellChange prints the changes between two heads.
func (t *tool) tellChange(ctx context.Context, was, is versions.Head) error {
	at := time.Now().Format(time.TimeOnly)
	if r := is.Rollout; r != nil && (was.Rollout == nil || was.Rollout.Percent != r.Percent || was.Rollout.Candidate != r.Candidate) {
		_, _ = fmt.Fprintf(t.out, "%s  candidate %d for %v %% of the instances\n", at, r.Candidate, r.Percent)
		if was.Rollout == nil {
			if err := t.diff(ctx, is.Stable, r.Candidate); err != nil {
				return err
			}
		}
	}
	if is.Rollout == nil && was.Rollout != nil && is.Stable == was.Stable {
		_, _ = fmt.Fprintf(t.out, "%s  the rollout of version %d was aborted\n", at, was.Rollout.Candidate)
	}
	if is.Stable == was.Stable {
		return nil
	}
	_, _ = fmt.Fprintf(t.out, "%s  version %d is in force\n", at, is.Stable)
	if was.Rollout != nil && was.Rollout.Candidate == is.Stable {
		return nil // its differences have been printed
	}
	return t.diff(ctx, was.Stable, is.Stable)
}
