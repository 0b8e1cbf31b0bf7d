package document

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
)

// readJSON builds values from tokens. Unlike encoding/json it rejects duplicate keys, text after the end, and half of a surrogate pair.
func readJSON(data []byte, at positions) (content, error) {
	r := newJSONReader(data, at)
	token, err := r.token()
	if err != nil {
		return content{}, r.at(err)
	}
	if token != json.Delim('{') {
		return content{}, &lineError{line: 1, err: errors.New("does not hold an object")}
	}
	values, err := r.object("")
	if err != nil {
		return content{}, r.at(err)
	}
	if _, err := r.decoder.Token(); !errors.Is(err, io.EOF) {
		return content{}, r.at(errors.New("has text after its end"))
	}
	return content{Values: values}, errors.Join(r.errs...)
}

// readJSONValue parses a value of any kind.
func readJSONValue(data []byte) (any, error) {
	r := newJSONReader(data, nil)
	v, err := r.value("")
	if err == nil {
		if _, after := r.decoder.Token(); !errors.Is(after, io.EOF) {
			err = errors.New("has text after its end")
		}
	}
	return v, errors.Join(append(r.errs, err)...)
}

func newJSONReader(data []byte, at positions) *jsonReader {
	r := &jsonReader{data: data, decoder: json.NewDecoder(bytes.NewReader(data)), positions: at, ends: lineEnds{data: data}}
	r.decoder.UseNumber()
	return r
}

type jsonReader struct {
	data    []byte
	decoder *json.Decoder
	ends    lineEnds
	depth   int
	errs    []error
	positions
}

// token returns the next token. A string with half of a surrogate pair is an error, since the decoder would replace it.
func (r *jsonReader) token() (json.Token, error) {
	from := r.decoder.InputOffset()
	token, err := r.decoder.Token()
	if s, ok := token.(string); ok && strings.Contains(s, "\ufffd") {
		raw := strings.ToLower(string(r.data[from:r.decoder.InputOffset()]))
		if strings.Count(s, "\ufffd") != strings.Count(raw, "\ufffd")+strings.Count(raw, `\ufffd`) {
			return nil, errors.New("a string holds half of a surrogate pair")
		}
	}
	return token, err
}

// mark records the line of the last token for a path.
func (r *jsonReader) mark(path string) {
	if r.positions != nil {
		r.add(path, r.line())
	}
}

// line returns the line of the last token.
func (r *jsonReader) line() int { return r.ends.lineAt(int(r.decoder.InputOffset())) }

func (r *jsonReader) at(err error) error {
	var known *lineError
	if errors.As(err, &known) {
		return err
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	line := r.line()
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		line = 1 + bytes.Count(r.data[:min(int(syntax.Offset), len(r.data))], []byte("\n"))
	}
	return errors.Join(append(r.errs, &lineError{line: line, err: err})...)
}

// object parses the rest of an object.
func (r *jsonReader) object(path string) (map[string]any, error) {
	values := map[string]any{}
	for r.decoder.More() {
		token, err := r.token()
		if err != nil {
			return nil, err
		}
		name, _ := token.(string)
		at := r.key(path, name)
		if _, twice := values[name]; twice {
			r.errs = append(r.errs, &lineError{line: r.line(), key: at, err: errDuplicate})
		}
		r.mark(at)
		if values[name], err = r.value(at); err != nil {
			return nil, err
		}
	}
	_, err := r.token()
	return values, err
}

func (r *jsonReader) value(path string) (any, error) {
	if r.depth++; r.depth > maxDepth {
		return nil, &lineError{line: r.line(), err: errDeep}
	}
	defer func() { r.depth-- }()
	token, err := r.token()
	switch token := token.(type) {
	case json.Delim:
		if token == '{' {
			return r.object(path)
		}
		return r.list(path)
	case json.Number:
		return number(token), err
	}
	return token, err
}

// list parses the rest of an array.
func (r *jsonReader) list(path string) ([]any, error) {
	elements := []any{}
	for i := 0; r.decoder.More(); i++ {
		at := r.item(path, i)
		element, err := r.value(at)
		if err != nil {
			return nil, err
		}
		r.mark(at)
		elements = append(elements, element)
	}
	_, err := r.token()
	return elements, err
}
