package config

import (
	"context"
	"errors"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/memkv"
	"github.com/go-os/go-os/telemetry"
)

// staged returns versions with a rollout at 10 percent.
func staged(t *testing.T) *Versions {
	t.Helper()
	off := telemetry.Off()
	v, err := NewVersions(kv.New(memkv.New(nil), &kv.Options{Telemetry: off}), "l", &VersionsOptions{Telemetry: off})
	if err == nil {
		_, err = v.Publish(t.Context(), Draft{Document: "a: 1\n", Format: YAML, Author: "ada"})
	}
	if err == nil {
		_, err = v.Stage(t.Context(), Draft{Document: "a: 2\n", Format: YAML, Author: "ada"}, 10)
	}
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestGuideWaitsForMonitorThatBreaks has one good sample, and then a monitor that is down for the rest of the stage.
func TestGuideWaitsForMonitorThatBreaks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, asked := staged(t), 0
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		err := v.Guide(ctx, Plan{Author: "guide", Stages: []Stage{{10, 10 * time.Minute}}, Health: func(context.Context) (Health, error) {
			if asked++; asked == 1 {
				return Health{Canary: Sample{Total: 1000}, Stable: Sample{Total: 1000}}, nil
			}
			return Health{}, errors.New("the monitor is down")
		}})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Guide: %v, want it to wait", err)
		}
		if head, err := v.Head(t.Context()); err != nil || head.Stable != 1 || head.Rollout == nil {
			t.Errorf("head %+v, %v", head, err)
		}
	})
}

func TestAdvanceToNoNumber(t *testing.T) {
	if err := staged(t).Advance(t.Context(), math.NaN(), "ada", ""); !errors.Is(err, ErrInvalid) {
		t.Errorf("Advance: %v, want ErrInvalid", err)
	}
}
