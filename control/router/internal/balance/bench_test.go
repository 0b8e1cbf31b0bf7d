package balance

import (
	"sync/atomic"
	"testing"
	"time"
)

func BenchmarkPick(b *testing.B) {
	for p := Auto; p <= ConsistentHash; p++ {
		b.Run(p.String(), func(b *testing.B) {
			balancer, set := fleet(p, 100)
			var now time.Duration
			b.ReportAllocs()
			for b.Loop() {
				now += 10 * time.Microsecond
				i, _ := balancer.Pick(now, set, Key{Hash: uint64(now), Set: true}, nil)
				set.At(i).Begin(now, false).Done(now+time.Millisecond, Success)
			}
		})
	}
}

// BenchmarkPickProbed measures picks with a full pool of probes.
func BenchmarkPickProbed(b *testing.B) {
	balancer, set := fleet(Prequal, 100)
	var now time.Duration
	for b.Loop() {
		now += 10 * time.Microsecond
		i, _ := balancer.Pick(now, set, Key{}, nil)
		set.At(i).Begin(now, false).Done(now+time.Millisecond, Success)
		answerProbes(balancer, set, now, i)
	}
}

func BenchmarkPickParallel(b *testing.B) {
	for p := Auto; p <= ConsistentHash; p++ {
		b.Run(p.String(), func(b *testing.B) {
			balancer, set := fleet(p, 100)
			var clients atomic.Int64
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				now := time.Duration(clients.Add(1))
				for pb.Next() {
					now += 10 * time.Microsecond
					i, _ := balancer.Pick(now, set, Key{Hash: uint64(now), Set: true}, nil)
					set.At(i).Begin(now, false).Done(now+time.Millisecond, Success)
				}
			})
		})
	}
}
