package versions

import (
	"context"
	"errors"
	"math"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-os/go-os/control/config"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/driver"
	"github.com/go-os/go-os/state/kv/memkv"
	"github.com/go-os/go-os/telemetry"
)

// staged returns a layer with a rollout at 10 percent.
func staged(t *testing.T) *Layer {
	t.Helper()
	return stagedOn(t, memkv.New(nil))
}

func stagedOn(t *testing.T, d driver.Driver) *Layer {
	t.Helper()
	off := telemetry.Off()
	v, err := New(kv.New(d, &kv.Options{Telemetry: off}), "l", &Options{Telemetry: off})
	if err == nil {
		_, err = v.Publish(t.Context(), Draft{Document: "a: 1\n", Format: config.YAML, Author: "ada"})
	}
	if err == nil {
		_, err = v.Stage(t.Context(), Draft{Document: "a: 2\n", Format: config.YAML, Author: "ada"}, 10)
	}
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestRunWaitsForMonitor: after one good sample the monitor fails for the rest of the stage.
func TestRunWaitsForMonitor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, asked := staged(t), 0
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		err := v.RunRollout(ctx, Plan{Author: "guide", Stages: []Stage{{10, 10 * time.Minute}}, Health: func(context.Context) (Health, error) {
			if asked++; asked == 1 {
				return Health{Canary: Sample{Total: 1000}, Stable: Sample{Total: 1000}}, nil
			}
			return Health{}, errors.New("the monitor is down")
		}})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("RunRollout: %v, want it to wait", err)
		}
		if head, err := v.Head(t.Context()); err != nil || head.Stable != 1 || head.Rollout == nil {
			t.Errorf("head %+v, %v", head, err)
		}
	})
}

// overtaken is a store that calls a function before its next write.
type overtaken struct {
	*memkv.Driver
	first atomic.Pointer[func()]
}

func (o *overtaken) Put(ctx context.Context, r driver.PutRequest) (driver.Version, error) {
	if first := o.first.Swap(nil); first != nil {
		(*first)()
	}
	return o.Driver.Put(ctx, r)
}

// TestRecordOfTheWinner: a Promote overtakes an Abort that has already read the head. The record has the Promote, also after the next
// publication.
func TestRecordOfTheWinner(t *testing.T) {
	o := &overtaken{Driver: memkv.New(nil)}
	v := stagedOn(t, o)
	promote := func() {
		if err := v.Promote(t.Context(), "bob", "well"); err != nil {
			t.Error(err)
		}
	}
	o.first.Store(&promote)
	if err := v.Abort(t.Context(), "ada", "ill"); !errors.Is(err, config.ErrConflict) {
		t.Errorf("Abort: %v", err)
	}
	for range 2 {
		r, err := v.Rollout(t.Context(), 2)
		if err != nil || len(r.Steps) != 2 || r.Steps[1].Action != "promote" || r.Steps[1].Author != "bob" {
			t.Errorf("%+v, %v", r, err)
		}
		if _, err := v.Publish(t.Context(), Draft{Document: "a: 3\n", Format: config.YAML, Author: "ada"}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAdvanceToNoNumber(t *testing.T) {
	if err := staged(t).Advance(t.Context(), math.NaN(), "ada", ""); !errors.Is(err, config.ErrInvalid) {
		t.Errorf("Advance: %v, want config.ErrInvalid", err)
	}
}
