package kv_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"strings"
	"testing"

	"github.com/go-os/go-os/state/kv"
)

// TestAliasDocs checks that the comment of an alias lists the fields of its type, since go doc does not show them.
func TestAliasDocs(t *testing.T) {
	comments := map[string]string{}
	for _, file := range []string{"kv.go", "watch.go"} {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range parsed.Decls {
			if gen, ok := decl.(*ast.GenDecl); ok && gen.Tok == token.TYPE {
				comments[gen.Specs[0].(*ast.TypeSpec).Name.Name] = gen.Doc.Text()
			}
		}
	}
	for _, alias := range []any{kv.Item{}, kv.Capabilities{}, kv.Result{}, kv.Event{}} {
		typ := reflect.TypeOf(alias)
		for i := range typ.NumField() {
			field := typ.Field(i)
			name := strings.TrimPrefix(field.Type.String(), "driver.")
			if name == "TTLLimits" {
				name = "driver.TTLLimits"
			}
			want := fmt.Sprintf("%s %s //", field.Name, strings.ReplaceAll(name, "uint8", "byte"))
			if !strings.Contains(strings.Join(strings.Fields(comments[typ.Name()]), " "), want) {
				t.Errorf("the comment of kv.%s lacks the field %q:\n%s", typ.Name(), want, comments[typ.Name()])
			}
		}
	}
}
