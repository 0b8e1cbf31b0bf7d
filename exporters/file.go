package exporters

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strconv"
	"strings"

	"go.opentelemetry.io/contrib/otelconf"
	"go.yaml.in/yaml/v3"
)

// readFile reads the file that OTEL_CONFIG_FILE names. The specification requires an error if the file cannot be read, parsed or used.
// The other OTEL_ variables count only where the file refers to them.
//
// otelconf parses it into its model of the schema. This package builds the pipelines, so that they have the same accounts as any other.
// A setting of the file that nothing reads causes a warning.
func readFile(e *environ, file string) (settings, error) {
	fail := func(err error) (settings, error) {
		return settings{}, fmt.Errorf("exporters: %s=%s: %w; correct the file, or unset the variable", envConfigFile, file, err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return fail(err)
	}
	tree, err := parseTree(text)
	if err != nil {
		return fail(err)
	}
	model, err := otelconf.ParseYAML(text)
	if err != nil {
		return fail(err)
	}
	newer, err := checkFormat(model.FileFormat)
	if err != nil {
		return fail(err)
	}
	if newer {
		e.warn(envConfigFile, "%s: file_format %q is newer than 1.0: what it adds is ignored", file, model.FileFormat)
	}
	if disabled := model.Disabled; model.TracerProvider == nil && model.MeterProvider == nil && model.LoggerProvider == nil && (disabled == nil || !*disabled) {
		e.warn(envConfigFile, "%s: it has no tracer_provider, no meter_provider and no logger_provider: there is no telemetry", file)
	}
	for _, section := range unknown("", tree, reflect.TypeOf(*model)) {
		e.warn(envConfigFile, "%s: %s is ignored: it is not part of what is supported", file, section)
	}
	t := translation{model: model, ignore: func(section, why string) {
		e.warn(envConfigFile, "%s: %s is ignored: %s", file, section, why)
	}}
	if tree["distribution"] != nil {
		t.ignore("distribution", "it is for other distributions")
	}
	s, err := t.settings()
	if err != nil {
		return fail(err)
	}
	for _, name := range sortedKeys(e.vars) {
		if name != envConfigFile && !strings.Contains(string(text), name) {
			e.warn(name, "it has no effect: %s is set, and the file does not refer to it", envConfigFile)
		}
	}
	return s, nil
}

// parseTree decodes a file before variables are substituted. It must be one YAML document that is not empty.
func parseTree(text []byte) (map[string]any, error) {
	d := yaml.NewDecoder(bytes.NewReader(text))
	var tree map[string]any
	if err := d.Decode(&tree); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if len(tree) == 0 {
		return nil, errors.New("the file is empty; it needs file_format and the providers")
	}
	var next any
	if err := d.Decode(&next); !errors.Is(err, io.EOF) {
		return nil, errors.New("the file has more than one YAML document; only one is read")
	}
	return tree, nil
}

// checkFormat accepts the implemented version of the schema, 1.0 with its candidates, and later compatible ones.
func checkFormat(version string) (newer bool, err error) {
	number, _, _ := strings.Cut(version, "-")
	major, minor, ok := strings.Cut(number, ".")
	if _, err := strconv.Atoi(minor); !ok || err != nil || major != "1" {
		return false, fmt.Errorf("file_format %q is not supported; 1.0 is", version)
	}
	return minor != "0", nil
}

// unknown returns the paths of a YAML tree that have no field in the model. Decoding drops them silently.
func unknown(path string, tree any, model reflect.Type) (paths []string) {
	for model.Kind() == reflect.Pointer {
		model = model.Elem()
	}
	switch node := tree.(type) {
	case []any:
		if model.Kind() != reflect.Slice {
			return nil
		}
		for i, item := range node {
			paths = append(paths, unknown(fmt.Sprintf("%s[%d]", path, i), item, model.Elem())...)
		}
	case map[string]any:
		if model.Kind() == reflect.Map { // an object without fields, such as always_on
			for _, key := range sortedKeys(node) {
				paths = append(paths, path+"."+key)
			}
			return paths
		}
		if model.Kind() != reflect.Struct {
			return nil
		}
		fields := yamlFields(model)
		for _, key := range sortedKeys(node) {
			at := strings.TrimPrefix(path+"."+key, ".")
			if at == "distribution" {
				continue // which is ignored as a whole
			}
			field, ok := fields[key]
			if !ok {
				paths = append(paths, at)
				continue
			}
			paths = append(paths, unknown(at, node[key], field)...)
		}
	}
	return paths
}

func yamlFields(model reflect.Type) map[string]reflect.Type {
	fields := make(map[string]reflect.Type)
	for i := range model.NumField() {
		name, _, _ := strings.Cut(model.Field(i).Tag.Get("yaml"), ",")
		fields[name] = model.Field(i).Type
	}
	return fields
}
