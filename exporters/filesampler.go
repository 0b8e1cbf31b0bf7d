package exporters

import (
	"errors"
	"fmt"

	"go.opentelemetry.io/contrib/otelconf"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

func fileSampler(at string, s *otelconf.Sampler) (sdktrace.Sampler, error) {
	switch {
	case s == nil:
		return sdktrace.ParentBased(sdktrace.AlwaysSample()), nil
	case s.ParentBased != nil:
		return fileParentBased(at+".parent_based", s.ParentBased)
	case s.AlwaysOff != nil:
		return sdktrace.NeverSample(), nil
	case s.AlwaysOn != nil:
		return sdktrace.AlwaysSample(), nil
	case s.TraceIDRatioBased != nil && s.TraceIDRatioBased.Ratio == nil:
		return sdktrace.TraceIDRatioBased(1), nil
	case s.TraceIDRatioBased != nil:
		return sdktrace.TraceIDRatioBased(*s.TraceIDRatioBased.Ratio), nil
	}
	return nil, fmt.Errorf("%s is none of always_on, always_off, parent_based, trace_id_ratio_based", at)
}

func fileParentBased(at string, p *otelconf.ParentBasedSampler) (sdktrace.Sampler, error) {
	root, err := fileSampler(at+".root", p.Root)
	if p.Root == nil {
		root = sdktrace.AlwaysSample()
	}
	errs := []error{err}
	var opts []sdktrace.ParentBasedSamplerOption
	for _, o := range []struct {
		name string
		s    *otelconf.Sampler
		with func(sdktrace.Sampler) sdktrace.ParentBasedSamplerOption
	}{
		{"remote_parent_sampled", p.RemoteParentSampled, sdktrace.WithRemoteParentSampled},
		{"remote_parent_not_sampled", p.RemoteParentNotSampled, sdktrace.WithRemoteParentNotSampled},
		{"local_parent_sampled", p.LocalParentSampled, sdktrace.WithLocalParentSampled},
		{"local_parent_not_sampled", p.LocalParentNotSampled, sdktrace.WithLocalParentNotSampled},
	} {
		if o.s == nil {
			continue
		}
		s, err := fileSampler(at+"."+o.name, o.s)
		errs, opts = append(errs, err), append(opts, o.with(s))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return sdktrace.ParentBased(root, opts...), nil
}
