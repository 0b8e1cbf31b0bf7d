package health_test

import (
	"testing"
	"time"

	"github.com/go-os/go-os/control/router/internal/health"
)

func TestAllocNone(t *testing.T) {
	f := newFleet(t, 10, health.Config{})
	target := f.targets[0]
	if n := testing.AllocsPerRun(1000, func() {
		for r := health.Success; r <= health.Neutral; r++ {
			target.Record(f.now, r)
		}
		target.Ejected(f.now)
		target.Weight(f.now)
		f.Due(f.now)
	}); n != 0 {
		t.Errorf("a request takes %v allocations, want none", n)
	}
}

func BenchmarkRecord(b *testing.B) {
	for name, result := range map[string]health.Result{"success": health.Success, "fault": health.Fault, "neutral": health.Neutral} {
		b.Run(name, func(b *testing.B) {
			m := health.New(health.Config{})
			target := m.Track(0, key(0), "a")
			m.Retain(0, []*health.Target{target})
			for b.Loop() {
				target.Record(time.Second, result)
			}
		})
	}
}

func BenchmarkRecordParallel(b *testing.B) {
	m := health.New(health.Config{})
	target := m.Track(0, key(0), "a")
	m.Retain(0, []*health.Target{target})
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			target.Record(time.Second, health.Success)
		}
	})
}

// BenchmarkPick is what a pick reads of two candidates.
func BenchmarkPick(b *testing.B) {
	m := health.New(health.Config{})
	first, second := m.Track(0, key(0), "a"), m.Track(0, key(1), "a")
	m.Retain(0, []*health.Target{first, second})
	for b.Loop() {
		_ = m.Due(time.Second) || first.Ejected(time.Second) || second.Ejected(time.Second) || first.Weight(time.Second)+second.Weight(time.Second) == 0
	}
}

// BenchmarkSweep judges 1000 endpoints.
func BenchmarkSweep(b *testing.B) {
	m := health.New(health.Config{})
	var targets []*health.Target
	for i := range 1000 {
		targets = append(targets, m.Track(0, key(i), "a"))
	}
	m.Retain(0, targets)
	now := time.Duration(0)
	for b.Loop() {
		now += health.DefaultInterval
		for _, t := range targets {
			t.Record(now, health.Success)
		}
		m.Sweep(now)
	}
}
