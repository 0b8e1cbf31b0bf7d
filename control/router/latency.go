package router

import (
	"time"

	"github.com/go-os/go-os/internal/bounded"
)

type boundedPools = bounded.Cache[*pool, *pool]

// record counts the outcome of a pick.
func (p Pick) record(_ time.Duration, kind Kind, _ time.Duration) {
	p.endpoint.counts.picks[p.reason].Add(1)
	p.endpoint.counts.outcomes[kind].Add(1)
}

type latency struct{}

func (s *Service) quantile(float64) time.Duration     { return 0 }
func (s *Service) methodOf(*Endpoint, string) *method { return nil }

type method struct{}

func newBoundedPools() *boundedPools { return bounded.New[*pool, *pool](maxLabelPools) }
