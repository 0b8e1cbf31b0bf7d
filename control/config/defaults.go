package config

import (
	"context"
	"fmt"
	"reflect"

	"github.com/go-os/go-os/control/config/driver"
	"github.com/go-os/go-os/control/config/internal/document"
)

// Defaults returns a source with the values of a struct, or of a pointer to one. The struct usually has the type of the configuration, and the
// source comes first. Zero values are left out. Load returns ErrInvalid if the value is not a struct.
func Defaults(value any) Source { return defaultsSource{reflect.ValueOf(value)} }

type defaultsSource struct{ value reflect.Value }

func (defaultsSource) Name() string { return "defaults" }

// Fixed implements driver.Fixed: the values of the struct do not change.
func (defaultsSource) Fixed() {}

func (d defaultsSource) Read(context.Context) ([]driver.Document, error) {
	v := d.value
	for v.Kind() == reflect.Pointer && !v.IsNil() {
		v = v.Elem()
	}
	if !v.IsValid() || v.Kind() != reflect.Struct {
		return nil, fmt.Errorf("%w: the value of Defaults is not a struct: pass a struct or a pointer to one", ErrInvalid)
	}
	return []driver.Document{{Name: "defaults", Tree: document.TreeOf(v)}}, nil
}
