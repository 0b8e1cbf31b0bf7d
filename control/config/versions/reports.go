package versions

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-os/go-os/control/config/driver"
	"github.com/go-os/go-os/state/kv"
)

// reportTTL is how long a report counts; Run repeats it every 30 seconds.
const reportTTL = 90 * time.Second

// Instance is the report of an instance about itself.
type Instance struct {
	// Name of the instance.
	Name string `json:"name"`
	// Version that it runs.
	Version int `json:"version"`
	// Rejected is a version that it refused, or 0.
	Rejected int `json:"rejected,omitempty"`
	// Reason for the refusal.
	Reason string `json:"reason,omitempty"`
	// Time of the report, by the clock of the instance. No decision rests on it.
	Time time.Time `json:"time"`
}

// Report leaves a report of the instance in each layer that has a version.
func (p *publishedSource) Report(ctx context.Context, r driver.Report) error {
	if p.instance == "" {
		return nil
	}
	var errs []error
	for _, l := range p.layers {
		now := Instance{Name: p.instance, Version: numberIn(r.Versions, l.name), Rejected: numberIn(r.Rejected, l.name), Time: time.Now()}
		if now.Rejected == now.Version {
			now.Rejected = 0
		}
		if now.Rejected != 0 {
			now.Reason = r.Reason
		}
		if now.Version != 0 || now.Rejected != 0 {
			errs = append(errs, l.log.report(ctx, now))
		}
	}
	return errors.Join(errs...)
}

// report writes the report of an instance. It expires where the engine supports that.
func (l *versionLog) report(ctx context.Context, i Instance) error {
	value, err := json.Marshal(i)
	if err != nil {
		return err
	}
	var opts []kv.PutOption
	if l.store.Require(kv.Expiry) == nil {
		opts = append(opts, kv.TTL(reportTTL))
	}
	_, err = l.store.Put(ctx, instancePrefix+i.Name, value, opts...)
	return err
}

// numberIn finds a layer's version among those of all layers.
func numberIn(versions []string, layer string) int {
	for _, v := range versions {
		if rest, ok := strings.CutPrefix(v, layer+"@"); ok {
			if n, err := strconv.Atoi(rest); err == nil {
				return n
			}
		}
	}
	return 0
}

// Instances returns the latest report of each instance of the layer, in the order of their names. A report expires 90 seconds after
// it was written, by the clock of the engine. An engine without kv.Expiry keeps it: then Instance.Time, by the clock of the instance,
// is all that says how old it is.
func (v *Layer) Instances(ctx context.Context) (all []Instance, err error) {
	err = v.do(ctx, "instances", 0, func(ctx context.Context) error {
		reports, err := v.log.reports(ctx)
		for _, r := range reports {
			all = append(all, r.Instance)
		}
		return err
	})
	return all, err
}

// report is what an instance has written, and the version that the store gave it: each report has another one.
type report struct {
	Instance
	at kv.Version
}

// reports returns the reports of the layer, in the order of the names.
func (l *versionLog) reports(ctx context.Context) (all []report, err error) {
	for found, err := range l.store.List(ctx, instancePrefix) {
		if err != nil {
			return nil, storeError(err)
		}
		r := report{at: found.Version}
		if json.Unmarshal(found.Value, &r.Instance) == nil {
			all = append(all, r)
		}
	}
	slices.SortFunc(all, func(a, b report) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}
