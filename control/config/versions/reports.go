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

// reportTTL is the lifetime of a report. Run repeats it every 30 seconds.
const reportTTL = 90 * time.Second

// Instance is the latest report of an instance.
type Instance struct {
	// Name of the instance.
	Name string `json:"name"`
	// Version is the number of the version that it runs, or 0.
	Version int `json:"version"`
	// Rejected is the number of a version that it rejected, or 0.
	Rejected int `json:"rejected,omitempty"`
	// Reason for the rejection, without values.
	Reason string `json:"reason,omitempty"`
	// Time of the report, by the clock of the instance. No decision depends on it.
	Time time.Time `json:"time"`
}

// Report implements driver.Reporter. It writes a report of the instance to each layer with a version.
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

// report writes the report of an instance. The report expires if the engine supports that.
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

// numberIn returns the version of a layer among the versions of all layers, or 0.
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

// Instances returns the latest report of each instance of the layer, in the order of the names. A report expires after 90 seconds, by the
// clock of the engine. An engine without kv.Expiry keeps reports: then only Instance.Time, by the clock of the instance, shows their age.
// It returns errors.ErrUnsupported if the store lacks kv.List.
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

// report is a report of an instance with its version in the store, which differs for each report.
type report struct {
	Instance
	at kv.Version
}

// reports returns the reports of the layer in the order of the names.
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
