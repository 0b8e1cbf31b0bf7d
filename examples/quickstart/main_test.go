package main

import (
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/go-os/go-os/examples/internal/childtest"
)

// built is the quickstart, compiled once for all tests.
var built childtest.Program

func TestMain(m *testing.M) {
	code := m.Run()
	built.Remove()
	os.Exit(code)
}

// TestQuickstart runs the program and follows the instructions in its package comment.
func TestQuickstart(t *testing.T) {
	program := childtest.Start(t, &built, nil, "-addr", "127.0.0.1:0")
	url := program.Await(`listening.* url=(http://\S+)`)[1]
	if got := get(t, url+"/hello/world"); got != "Hello, world!\n" {
		t.Errorf("got %q", got)
	}
	program.Await(`greeting.* name=world.* trace_id=[0-9a-f]{32} span_id=[0-9a-f]{16}`)
	page := get(t, url+"/metrics")
	for _, want := range []string{
		`http_server_request_duration_seconds_count{http_request_method="GET",http_response_status_code="200",http_route="/hello/{name}"`,
		`service_name="quickstart"`,
		`go_memory_used_bytes`,
	} {
		if !strings.Contains(page, want) {
			t.Errorf("%s is not among the metrics:\n%s", want, page)
		}
	}
	program.Terminate()
	program.Wait()
}

func get(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// TestCleanStopWithoutACollector: the program exits with code 0 if only the collector is down, and the log reports the lost telemetry.
func TestCleanStopWithoutACollector(t *testing.T) {
	program := childtest.Start(t, &built, []string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1"}, "-addr", "127.0.0.1:0")
	get(t, program.Await(`listening.* url=(http://\S+)`)[1]+"/hello/world")
	program.Terminate()
	if output := program.Wait(); !strings.Contains(output, "telemetry was lost at shutdown") {
		t.Errorf("the loss is not reported:\n%s", output)
	}
}
