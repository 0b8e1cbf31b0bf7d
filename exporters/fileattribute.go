package exporters

import (
	"fmt"

	"go.opentelemetry.io/contrib/otelconf"
	"go.opentelemetry.io/otel/attribute"
)

// typedAttribute returns an attribute of the type that the file declares, or else of the YAML type. A value of another type is an
// error: "type: int" with a string contradicts itself.
func typedAttribute(a otelconf.AttributeNameValue) (kv attribute.KeyValue, err error) {
	kind := typeOf(a.Value)
	if a.Type != nil {
		kind = string(*a.Type)
	}
	if list, ok := a.Value.([]any); ok {
		return typedList(a.Name, kind, list)
	}
	switch kind {
	case "string":
		if v, ok := a.Value.(string); ok {
			return attribute.String(a.Name, v), nil
		}
	case "bool":
		if v, ok := a.Value.(bool); ok {
			return attribute.Bool(a.Name, v), nil
		}
	case "int":
		if v, ok := whole64(a.Value); ok {
			return attribute.Int64(a.Name, v), nil
		}
	case "double":
		if v, ok := double(a.Value); ok {
			return attribute.Float64(a.Name, v), nil
		}
	}
	return kv, fmt.Errorf("the value of %q is a %T, not a %s; quote a text", a.Name, a.Value, kind)
}

// typeOf returns the YAML type of a value whose type the file does not declare, or for a list the type of its first item.
func typeOf(value any) string {
	switch v := value.(type) {
	case bool:
		return "bool"
	case int, int64, uint64:
		return "int"
	case float32, float64:
		return "double"
	case []any:
		if len(v) > 0 {
			return typeOf(v[0]) + "_array"
		}
		return "string_array"
	}
	return "string"
}

func typedList(name, kind string, items []any) (kv attribute.KeyValue, err error) {
	switch kind {
	case "string_array":
		list, err := collect(name, kind, items, func(v any) (string, bool) { s, ok := v.(string); return s, ok })
		return attribute.StringSlice(name, list), err
	case "bool_array":
		list, err := collect(name, kind, items, func(v any) (bool, bool) { b, ok := v.(bool); return b, ok })
		return attribute.BoolSlice(name, list), err
	case "int_array":
		list, err := collect(name, kind, items, whole64)
		return attribute.Int64Slice(name, list), err
	case "double_array":
		list, err := collect(name, kind, items, double)
		return attribute.Float64Slice(name, list), err
	}
	return kv, fmt.Errorf("the value of %q is a list, not a %s", name, kind)
}

func collect[T any](name, kind string, items []any, as func(any) (T, bool)) ([]T, error) {
	list := make([]T, len(items))
	for i, item := range items {
		v, ok := as(item)
		if !ok {
			return nil, fmt.Errorf("item %d of %q is a %T, which a %s does not hold", i, name, item, kind)
		}
		list[i] = v
	}
	return list, nil
}

func whole64(v any) (int64, bool) {
	switch n := v.(type) {
	case int:
		return int64(n), true
	case int64:
		return n, true
	case uint64:
		return int64(n), n <= 1<<63-1
	}
	return 0, false
}

func double(v any) (float64, bool) {
	switch n := v.(type) {
	case float64:
		return n, true
	case float32:
		return float64(n), true
	}
	n, ok := whole64(v)
	return float64(n), ok
}
