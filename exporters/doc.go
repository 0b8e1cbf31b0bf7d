// Package exporters builds the OpenTelemetry pipelines of a process, in one call from main:
//
//	pipeline, err := exporters.Setup(ctx, &exporters.Options{ServiceName: "orders"})
//	if err != nil { … }
//	defer pipeline.Shutdown(context.WithoutCancel(ctx))
//	mux.Handle("GET /metrics", pipeline.MetricsHandler())
package exporters
