package exporters

import (
	"fmt"
	"os"
	"reflect"
	"strings"

	"go.opentelemetry.io/contrib/otelconf"
	"go.yaml.in/yaml/v3"
)

// readFile reads the file that OTEL_CONFIG_FILE names. As the specification has it, a file that cannot be read, parsed or
// used is an error, and the other OTEL_ variables count only where the file refers to them.
//
// otelconf parses it into its model of the schema; the pipelines are built by this package, so that they are accounted for
// like any other. What the file says and nobody acts upon is warned of.
func readFile(e *environ, file string) (settings, error) {
	fail := func(err error) (settings, error) {
		return settings{}, fmt.Errorf("exporters: %s=%s: %w; correct the file, or unset the variable", envConfigFile, file, err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return fail(err)
	}
	model, err := otelconf.ParseYAML(text)
	if err != nil {
		return fail(err)
	}
	var tree any
	if err := yaml.Unmarshal(text, &tree); err != nil {
		return fail(err)
	}
	for _, section := range unknown("", tree, reflect.TypeOf(*model)) {
		e.warn(envConfigFile, "%s: %s is ignored: it is not part of what is supported", file, section)
	}
	t := translation{model: model, ignore: func(section, why string) {
		e.warn(envConfigFile, "%s: %s is ignored: %s", file, section, why)
	}}
	if root, ok := tree.(map[string]any); ok && root["distribution"] != nil { // which otelconf decodes into nothing
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

// unknown returns the paths of what a YAML tree has and a type of the model has no field for, for decoding drops it without
// a word.
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
		if model.Kind() != reflect.Struct {
			return nil
		}
		fields := yamlFields(model)
		for _, key := range sortedKeys(node) {
			at := strings.TrimPrefix(path+"."+key, ".")
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
