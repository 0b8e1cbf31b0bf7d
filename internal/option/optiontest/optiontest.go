// Package optiontest tests constructors that report negative options; see package option.
package optiontest

import (
	"errors"
	"strings"
	"testing"

	"go.opentelemetry.io/otel"

	"github.com/go-os/go-os/internal/fault"
)

// Reports fails the test unless construct passes exactly one error to the error handler of OpenTelemetry. The error must be fault.Invalid
// and name the field, such as "log.AsyncOptions.Capacity". The handler is process-wide: such a test must not be parallel.
func Reports(t *testing.T, field string, construct func()) {
	t.Helper()
	var reported []error
	before := otel.GetErrorHandler()
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { reported = append(reported, err) }))
	defer otel.SetErrorHandler(before)
	construct()
	if len(reported) != 1 || !errors.Is(reported[0], fault.Invalid) || !strings.Contains(reported[0].Error(), field+": ") {
		t.Errorf("%s: reported %v, want one error that names the field", field, reported)
	}
}
