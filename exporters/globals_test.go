package exporters

import (
	"bytes"
	"context"
	"io"
	stdlog "log"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"

	"go.opentelemetry.io/otel"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// TestChoicesAboutTheProcess runs each choice in a separate process, and checks which globals it sets and reports.
func TestChoicesAboutTheProcess(t *testing.T) {
	if choice := os.Getenv("GO_OS_CHOICE"); choice != "" {
		choose(choice)
		return
	}
	t.Parallel()
	for choice, want := range map[string]string{
		"default":      "otel=ours slog=ours standard=kept | INFO otel_globals=set slog_default=set standard_log=kept",
		"KeepOTel":     "otel=kept slog=ours standard=kept | INFO otel_globals=kept slog_default=set standard_log=kept",
		"KeepSlog":     "otel=ours slog=kept standard=kept | INFO otel_globals=set slog_default=kept standard_log=kept",
		"StandardLog":  "otel=ours slog=ours standard=ours | INFO otel_globals=set slog_default=set standard_log=set",
		"KeepGlobals":  "otel=kept slog=kept standard=kept | silent",
		"others":       "otel=ours slog=ours standard=kept | WARN otel_globals=replaced slog_default=replaced standard_log=kept",
		"second Setup": "otel=ours slog=ours standard=kept | WARN otel_globals=replaced slog_default=replaced standard_log=kept",
	} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestChoicesAboutTheProcess$")
		cmd.Env = append(os.Environ(), "GO_OS_CHOICE="+choice)
		out, err := cmd.Output()
		if got, _, _ := strings.Cut(string(out), "\n"); err != nil || got != want {
			t.Errorf("%s: %v\n got %s\nwant %s", choice, err, got, want)
		}
	}
}

// choose runs in the process: it calls Setup, and prints the owner of each global.
func choose(choice string) {
	ctx := context.Background()
	var standard, lines bytes.Buffer
	stdlog.SetOutput(&standard)
	o := Options{Environ: []string{}, LogWriter: &lines}
	switch choice {
	case "KeepOTel":
		o.KeepOTel = true
	case "KeepSlog":
		o.KeepSlog = true
	case "StandardLog":
		o.StandardLog = true
	case "KeepGlobals":
		o.KeepGlobals = true
	case "others":
		otel.SetTracerProvider(sdktrace.NewTracerProvider())
		slog.SetDefault(slog.New(slog.NewTextHandler(io.Discard, nil)))
		stdlog.SetOutput(&standard)
	case "second Setup":
		first, err := Setup(ctx, &Options{Environ: []string{}, LogWriter: io.Discard})
		if err != nil {
			panic(err)
		}
		defer func() { _ = first.Shutdown(ctx) }()
	}
	p, err := Setup(ctx, &o)
	if err != nil {
		panic(err)
	}
	said := "silent"
	if _, line, ok := strings.Cut(lines.String(), "level="); ok {
		level, _, _ := strings.Cut(line, " ")
		_, attrs, _ := strings.Cut(strings.TrimSpace(line), "otel_globals")
		said = level + " otel_globals" + attrs
	}
	stdlog.Print("from the standard package")
	whose := func(ours bool) string {
		if ours {
			return "ours"
		}
		return "kept"
	}
	_, err = os.Stdout.WriteString("otel=" + whose(otel.GetTracerProvider() == p.Providers().TracerProvider) + " slog=" + whose(slog.Default() == p.Logger()) +
		" standard=" + whose(standard.Len() == 0 && strings.Contains(lines.String(), "from the standard package")) + " | " + said + "\n")
	if err != nil {
		panic(err)
	}
	_ = p.Shutdown(ctx)
}

// TestSinksOfTheProgramHaveTraceIDs expects the ids of the readable log in a slog handler.
func TestSinksOfTheProgramHaveTraceIDs(t *testing.T) {
	out := &logBuffer{}
	p, _ := setup(t, Options{Sinks: []slog.Handler{slog.NewJSONHandler(out, nil)}})
	defer func() { _ = p.Shutdown(t.Context()) }()
	ctx, span := p.Providers().Tracer("t").Start(t.Context(), "s")
	defer span.End()
	p.Logger().InfoContext(ctx, "m")
	if id := span.SpanContext().TraceID().String(); len(out.lines(`"trace_id":"`+id+`"`)) != 1 {
		t.Errorf("the ids are not in %s", out)
	}
}
