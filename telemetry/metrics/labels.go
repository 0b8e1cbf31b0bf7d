package metrics

import (
	"fmt"
	"reflect"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/model"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/go-os/go-os/internal/bounded"
)

// labelTag is the key of the struct tag that names a label.
const labelTag = "metric"

// labelField is a field of a label struct.
type labelField struct {
	index     int
	key       attribute.Key
	omitempty bool
}

// labelFields reads the tags of a label struct once, so that a measurement cannot fail.
func labelFields(t reflect.Type, of dto.MetricType) ([]labelField, error) {
	if t.Kind() != reflect.Struct {
		return nil, fmt.Errorf("labels of type %s: use a struct with a `%s:\"key\"` tag on each field, "+
			"struct{} for none", t, labelTag)
	}
	fields := make([]labelField, 0, t.NumField())
	keys := make(map[string]string, t.NumField()) // fields, by the Prometheus form of their keys
	for i := range t.NumField() {
		f := t.Field(i)
		where := t.String() + "." + f.Name
		tag, ok := f.Tag.Lookup(labelTag)
		if !ok {
			return nil, fmt.Errorf("label %s has no `%s:\"key\"` tag", where, labelTag)
		}
		name, option, _ := strings.Cut(tag, ",")
		if option != "" && option != "omitempty" {
			return nil, fmt.Errorf("label %s has the option %q: there is only omitempty", where, option)
		}
		key := attribute.Key(name)
		if !key.Defined() {
			return nil, fmt.Errorf("label %s has an empty key in its `%s` tag", where, labelTag)
		}
		shown := prometheusLabel(name)
		if problem := reserved(shown, of); problem != "" {
			return nil, fmt.Errorf("label %s has the key %q: %s", where, key, problem)
		}
		if strings.HasPrefix(shown, "otel_scope_") {
			return nil, fmt.Errorf("label %s has the key %q, which Prometheus keeps for the instrumentation scope: rename it", where, key)
		}
		if other, ok := keys[shown]; ok {
			return nil, fmt.Errorf("labels %s and %s have the same key %q, as Prometheus shows it: rename one", other, where, shown)
		}
		if !labelKind(f.Type.Kind()) {
			return nil, fmt.Errorf("label %s is a %s: use a string, a bool, an int of any size, uint8, uint16 or uint32", where, f.Type)
		}
		keys[shown] = where
		fields = append(fields, labelField{index: i, key: key, omitempty: option == "omitempty"})
	}
	return fields, nil
}

// prometheusLabel returns the Prometheus form of a key, by the default translation and by the escaping scheme
// "underscores".
func prometheusLabel(key string) string {
	return strings.ReplaceAll(model.EscapeName(key, model.UnderscoreEscaping), ":", "_")
}

// labelKind reports whether a label may have this kind. Floats are excluded: NaN never equals itself, so it could not be
// found again.
func labelKind(k reflect.Kind) bool {
	switch k {
	case reflect.String, reflect.Bool,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint8, reflect.Uint16, reflect.Uint32:
		return true
	default:
		return false
	}
}

// attributes returns the attribute set of a label struct. It repairs strings that are not UTF-8: a collector would refuse
// the whole export.
func attributes(labels reflect.Value, fields []labelField) attribute.Set {
	kvs := make([]attribute.KeyValue, 0, len(fields))
	for _, f := range fields {
		v := labels.Field(f.index)
		if f.omitempty && v.IsZero() {
			continue
		}
		switch {
		case v.Kind() == reflect.String:
			kvs = append(kvs, f.key.String(strings.ToValidUTF8(v.String(), "\uFFFD")))
		case v.Kind() == reflect.Bool:
			kvs = append(kvs, f.key.Bool(v.Bool()))
		case v.CanInt():
			kvs = append(kvs, f.key.Int64(v.Int()))
		default:
			kvs = append(kvs, f.key.Int64(int64(v.Uint()))) // at most 32 bits
		}
	}
	return attribute.NewSet(kvs...)
}

// labelSets caches the measurement options of each distinct L.
type labelSets[L comparable, O any] struct {
	cache *bounded.Cache[L, []O]
	build func(L) []O // kept, since a method value made for each call would be an allocation
}

func newLabelSets[L comparable, O any](
	of dto.MetricType, limit int, option func(metric.MeasurementOption) O,
) (*labelSets[L, O], error) {
	fields, err := labelFields(reflect.TypeFor[L](), of)
	if err != nil {
		return nil, err
	}
	return &labelSets[L, O]{
		cache: bounded.New[L, []O](limit),
		build: func(labels L) []O {
			return []O{option(metric.WithAttributeSet(attributes(reflect.ValueOf(labels), fields)))}
		},
	}, nil
}

func (s *labelSets[L, O]) options(labels L) []O { return s.cache.Get(labels, s.build) }

func addOption(o metric.MeasurementOption) metric.AddOption       { return o }
func recordOption(o metric.MeasurementOption) metric.RecordOption { return o }
