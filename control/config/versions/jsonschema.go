package versions

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/go-os/go-os/control/config"
	"github.com/go-os/go-os/control/config/internal/document"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

// documentSchema is the JSON Schema of documents.
type documentSchema struct {
	compiled *jsonschema.Schema
}

// closedLoader refuses references to files and URLs.
type closedLoader struct{}

func (closedLoader) Load(url string) (any, error) {
	return nil, fmt.Errorf("refers to %s: move the definition to $defs of the same schema", url)
}

// newDocumentSchema compiles a schema. A nil text means no schema.
func newDocumentSchema(text []byte) (*documentSchema, error) {
	if text == nil {
		return nil, nil
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("%w: the JSON Schema is not JSON: %w", config.ErrInvalid, err)
	}
	const name = "schema.json"
	c := jsonschema.NewCompiler()
	c.UseLoader(closedLoader{})
	c.AssertFormat()
	if err := c.AddResource(name, doc); err != nil {
		return nil, fmt.Errorf("%w: the JSON Schema: %w", config.ErrInvalid, err)
	}
	compiled, err := c.Compile(name)
	if err != nil {
		return nil, fmt.Errorf("%w: the JSON Schema: %w", config.ErrInvalid, err)
	}
	return &documentSchema{compiled}, nil
}

// check returns all mistakes of a document. It shows no values, since they may be secret.
func (s *documentSchema) check(t *document.Tree) error {
	if s == nil {
		return nil
	}
	// The schema library has neither times nor several kinds of integers, so the values take a round trip through JSON.
	text, err := json.Marshal(t.Values)
	if err != nil {
		return fmt.Errorf("%w: cannot be written as JSON: %w", config.ErrInvalid, err)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return err
	}
	var failed *jsonschema.ValidationError
	switch err := s.compiled.Validate(value); {
	case err == nil:
		return nil
	case !errors.As(err, &failed):
		return fmt.Errorf("%w: %w", config.ErrInvalid, err)
	}
	var errs []error
	for _, leaf := range leaves(nil, failed) {
		path := placeOf(t.Values, leaf.InstanceLocation)
		errs = append(errs, &config.Error{Document: t.Name, Line: t.Line(path), Key: path, Err: fmt.Errorf("%w: %s", config.ErrInvalid, demand(leaf.ErrorKind))})
	}
	slices.SortStableFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs[:min(len(errs), document.MaxErrors)]...)
}

func leaves(all []*jsonschema.ValidationError, e *jsonschema.ValidationError) []*jsonschema.ValidationError {
	if len(e.Causes) == 0 {
		return append(all, e)
	}
	for _, cause := range e.Causes {
		all = leaves(all, cause)
	}
	return all
}

// placeOf converts a JSON Pointer to a path.
func placeOf(values any, pointer []string) (path string) {
	for _, part := range pointer {
		switch v := values.(type) {
		case map[string]any:
			path, values = document.JoinKey(path, part), v[part]
		case []any:
			i, err := strconv.Atoi(part)
			if err != nil || i >= len(v) {
				return path
			}
			path, values = document.JoinIndex(path, i), v[i]
		}
	}
	return path
}

// demand describes the demand of the schema, without the value.
func demand(k jsonschema.ErrorKind) string {
	switch k := k.(type) {
	case *kind.Type:
		return fmt.Sprintf("is %s, and must be %s", k.Got, strings.Join(k.Want, " or "))
	case *kind.Required:
		return "lacks " + strings.Join(k.Missing, ", ")
	case *kind.AdditionalProperties:
		return "has keys that the schema does not allow: " + strings.Join(k.Properties, ", ")
	case *kind.Minimum:
		return "must be at least " + k.Want.RatString()
	case *kind.Maximum:
		return "must be at most " + k.Want.RatString()
	case *kind.ExclusiveMinimum:
		return "must be more than " + k.Want.RatString()
	case *kind.ExclusiveMaximum:
		return "must be less than " + k.Want.RatString()
	case *kind.Enum:
		return fmt.Sprintf("must be one of %v", k.Want)
	case *kind.Pattern:
		return "must match " + k.Want
	case *kind.Format:
		return "must be of the format " + k.Want
	case *kind.MinLength:
		return fmt.Sprintf("must be at least %d characters long", k.Want)
	case *kind.MaxLength:
		return fmt.Sprintf("must be at most %d characters long", k.Want)
	}
	return "violates the rule " + strings.Join(k.KeywordPath(), "/")
}
