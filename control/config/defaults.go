package config

import (
	"context"
	"encoding"
	"fmt"
	"net/url"
	"reflect"
	"time"

	"github.com/go-os/go-os/control/config/driver"
)

// Defaults returns the values of a struct, or a pointer to one, usually of the type of the configuration, as the source that
// comes first. Zero values are left out: they are there anyway.
func Defaults(value any) Source { return defaultsSource{reflect.ValueOf(value)} }

type defaultsSource struct{ value reflect.Value }

func (defaultsSource) Name() string { return "defaults" }

func (d defaultsSource) Read(context.Context) ([]driver.Document, error) {
	v := d.value
	for v.Kind() == reflect.Pointer && !v.IsNil() {
		v = v.Elem()
	}
	if !v.IsValid() || v.Kind() != reflect.Struct {
		return nil, fmt.Errorf("%w: Defaults takes a struct", ErrInvalid)
	}
	return []driver.Document{{Name: "defaults", Tree: treeOf(v)}}, nil
}

// treeOf writes a struct as a document would.
func treeOf(v reflect.Value) map[string]any {
	out := map[string]any{}
	for _, f := range fieldsOf(v.Type()) {
		inner, err := v.FieldByIndexErr(f.index)
		if err != nil || inner.IsZero() {
			continue
		}
		out[f.name] = valueOf(inner)
	}
	return out
}

func valueOf(v reflect.Value) any {
	for v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface {
		if v.IsNil() {
			return nil
		}
		v = v.Elem()
	}
	switch value := v.Interface().(type) {
	case secret:
		return valueOf(reflect.ValueOf(value.inner()))
	case time.Duration:
		return value.String()
	case time.Time:
		return value
	case url.URL:
		return value.String()
	case encoding.TextMarshaler:
		if out, err := value.MarshalText(); err == nil {
			return string(out)
		}
	}
	switch shapeOf(v.Type()) {
	case object:
		return treeOf(v)
	case table:
		out := map[string]any{}
		for it := v.MapRange(); it.Next(); {
			out[it.Key().String()] = valueOf(it.Value())
		}
		return out
	case list:
		out := make([]any, v.Len())
		for i := range out {
			out[i] = valueOf(v.Index(i))
		}
		return out
	}
	return plainKind(v)
}

// plainKind returns a value as the parsers would give it.
func plainKind(v reflect.Value) any {
	switch v.Kind() {
	case reflect.Bool:
		return v.Bool()
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return v.Int()
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return v.Uint()
	case reflect.Float32, reflect.Float64:
		return v.Float()
	case reflect.String:
		return v.String()
	}
	return v.Interface()
}
