package document

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"time"
)

// instant is a date or a time of a document in its written form.
type instant struct {
	written string
	at      any // a time.Time, or a local date or time of TOML
}

// MarshalJSON writes the parsed time.
func (i instant) MarshalJSON() ([]byte, error) { return json.Marshal(i.at) }

// String returns the written form.
func (i instant) String() string { return i.written }

// plain copies the tree of a source without text to the types that the parsers return: map[string]any, []any and number.
func plain(v any) any {
	switch v := v.(type) {
	case nil, string, text, number, bool, []byte, instant, time.Time:
		return v
	case json.Number:
		return number(v)
	case float32:
		return shortest(float64(v), 32)
	}
	r := reflect.ValueOf(v)
	switch kind := r.Kind(); {
	case kind == reflect.Map:
		return plainMap(r)
	case kind == reflect.Slice:
		out := make([]any, r.Len())
		for i := range out {
			out[i] = plain(r.Index(i).Interface())
		}
		return out
	case r.Type().PkgPath() != "": // a named type fits only a field of that type
		return v
	}
	switch r.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return number(strconv.FormatInt(r.Int(), 10))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return number(strconv.FormatUint(r.Uint(), 10))
	case reflect.Float32, reflect.Float64:
		return shortest(r.Float(), 64)
	}
	return v
}

func plainMap(r reflect.Value) any {
	if r.IsNil() {
		return nil
	}
	out := make(map[string]any, r.Len())
	for it := r.MapRange(); it.Next(); {
		out[fmt.Sprint(it.Key())] = plain(it.Value().Interface())
	}
	return out
}
