package config_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/go-os/go-os/control/config"
)

// refused returns the error of Load for a type that Load must reject before it reads a source.
func refused[T any](t *testing.T) string {
	t.Helper()
	_, err := config.Load[T](t.Context(), nil)
	if !errors.Is(err, config.ErrInvalid) {
		t.Errorf("%T: %v", *new(T), err)
	}
	return fmt.Sprint(err)
}

// TestRulesThatDoNotFit: Load rejects a rule that would panic or never hold for a value.
func TestRulesThatDoNotFit(t *testing.T) {
	type inner struct {
		On bool `validate:"omitempty,min=5"`
	}
	for name, test := range map[string]struct{ got, want string }{
		"behind a pointer":  {refused[struct{ P *inner }](t), "p.on: the rule min=5 does not fit On bool"},
		"in a list":         {refused[struct{ L []inner }](t), "l[].on"},
		"in a map of lists": {refused[struct{ M map[string][]*inner }](t), "m.*[].on"},
		"in a Secret":       {refused[struct{ S config.Secret[inner] }](t), "s.on"},
		"in a squashed struct": {refused[struct {
			Squashed `config:",squash"`
		}](t), "on: the rule min=5"},
		"after dive": {refused[struct {
			L []bool `validate:"min=1,dive,min=1"`
		}](t), "l: the rule dive,min=1 does not fit"},
		"of the keys": {refused[struct {
			M map[string]int `validate:"dive,keys,min=x,endkeys,gt=0"`
		}](t), "the rule dive,keys,min=x,endkeys"},
		"after the keys": {refused[struct {
			M map[string]bool `validate:"dive,keys,min=2,endkeys,gt=0"`
		}](t), "the rule dive,gt=0"},
		"of the pointer itself": {refused[struct {
			P *bool `validate:"omitempty,gt=1"`
		}](t), "p: the rule gt=1"},
		"after one that fails first": {refused[struct {
			N int `validate:"required,oneof=1 2,max=many"`
		}](t), "n: the rule max=many"},
		"of a choice": {refused[struct {
			N bool `validate:"isdefault|min=3"`
		}](t), "n: the rule min=3"},
		"dive into no list": {refused[struct {
			N int `validate:"omitempty,dive,min=3"`
		}](t), "n: the rule dive,min=3"},
		"for texts": {refused[struct {
			N []int `validate:"dive,email"`
		}](t), "n: the rule dive,email does not fit N []int: it is a rule for texts"},
		"of a Secret": {refused[struct {
			S config.Secret[bool] `validate:"min=8"`
		}](t), "s: the rule min=8"},
		"a field that is not there": {refused[struct {
			L []struct {
				A string `validate:"required_without=B"`
			}
		}](t), "l[].a: the rule required_without=B does not fit A string"},
		"unknown, in a list": {refused[struct {
			L []struct {
				A string `validate:"requierd"`
			}
		}](t), "l[].a: the rule requierd"},
	} {
		if !strings.Contains(test.got, test.want) {
			t.Errorf("%s: %s\nwant %s", name, test.got, test.want)
		}
	}
	both := refused[struct {
		A bool `validate:"min=1"`
		B int  `validate:"email"`
	}](t)
	if !strings.Contains(both, "a: the rule") || !strings.Contains(both, "b: the rule") {
		t.Errorf("not all mistakes: %s", both)
	}
}

// Squashed has a rule that does not fit.
type Squashed struct {
	On bool `validate:"min=5"`
}

// TestRulesThatFit: Load accepts every way to write a rule.
func TestRulesThatFit(t *testing.T) {
	type node struct {
		Name  string `validate:"required,alphanum"`
		Next  *node
		Nodes map[string]*node `validate:"dive,keys,min=1,endkeys,required"`
	}
	type fits struct {
		Min, Max int                   `validate:"ltefield=Max"`
		Mail     *string               `validate:"omitempty,email|uuid"`
		Prices   map[string]int        `validate:"required,dive,keys,max=3,endkeys,gt=0"`
		Sizes    [][]config.Size       `validate:"dive,min=1,dive,gt=1"`
		Key      config.Secret[string] `validate:"omitempty,min=8"`
		Any      any                   `validate:"omitempty,min=5"`
		Color    string                `validate:"omitempty,iscolor"`
		Node     *node
		Other    string `validate:"required_if=Mode safe"`
		Mode     string `validate:"omitempty,oneof=fast safe"`
	}
	cfg, err := config.Load[fits](t.Context(), options(yaml("prices: {a: 1}\nnode: {name: a, next: {name: b}, nodes: {c: {name: c}}}\nsizes: [[2KiB]]\n")))
	must(t, err)
	if err := reload(t, cfg, "prices: {a: 1}\nany: true\n"); err == nil || !strings.Contains(err.Error(), "does not fit the value of an interface") {
		t.Errorf("a rule that does not fit a value of type any: %v", err)
	}
}

// reload loads a configuration of the same type from one document.
func reload[T any](t *testing.T, _ *config.Config[T], text string) error {
	t.Helper()
	_, err := config.Load[T](t.Context(), options(yaml(text)))
	return err
}

// TestRulesWithoutDive: rules apply to the elements of lists and maps without dive.
func TestRulesWithoutDive(t *testing.T) {
	type port struct {
		N int `validate:"min=1"`
	}
	type group struct {
		Ports []port
	}
	type all struct {
		L []port `validate:"max=3"`
		P *[]*port
		M map[string]port
		N map[string][]port `validate:"dive,min=1"`
		G []group
		S config.Secret[[]port]
		T []config.Secret[port]
		K map[string]port `validate:"dive,keys,max=9,endkeys"`
	}
	for text, path := range map[string]string{
		"l: [{n: 1}, {n: 0}]":            "l[1].n",
		"p: [{n: 0}]":                    "p[0].n",
		"m: {a: {n: 0}}":                 "m.a.n",
		"n: {a: [{n: 0}]}":               "n.a[0].n",
		"g: [{ports: [{n: 1}, {n: 0}]}]": "g[0].ports[1].n",
		"s: [{n: 0}]":                    "s[0].n",
		"t: [{n: 0}]":                    "t[0].n",
		"k: {a: {n: 0}}":                 "k.a.n",
		`m: {"a].b": {n: 1}, "a": {n: 1}, "a]": {n: 0}}`: `m."a]".n`,
		`m: {"a.b": {n: 0}}`:                             `m."a.b".n`,
	} {
		_, err := config.Load[all](t.Context(), options(yaml(text)))
		if !errors.Is(err, config.ErrInvalid) || !strings.Contains(err.Error(), path+": invalid: must be at least 1") {
			t.Errorf("%s: %v", text, err)
		}
	}
	if _, err := config.Load[all](t.Context(), options(yaml("l: [{n: 1}]"))); err != nil {
		t.Error(err)
	}
}

// asked has a Validate method that completes or rejects it.
type asked struct {
	N    int
	Done bool `config:"-"`
}

func (a *asked) Validate() error {
	a.Done = true
	if a.N < 0 {
		return fmt.Errorf("%d is below zero", a.N)
	}
	return nil
}

// word is a key with a Validate method.
type word string

func (w word) Validate() error {
	if strings.Contains(string(w), " ") {
		return errors.New("is more than a word")
	}
	return nil
}

// Embedded has a Validate method that the struct around it promotes.
type Embedded struct{ N int }

// Validate rejects numbers below zero.
func (e *Embedded) Validate() error { return (&asked{N: e.N}).Validate() }

type hiddenPart struct{ N int }

func (h *hiddenPart) Validate() error { return (&asked{N: h.N}).Validate() }

// around has its own method, so that the method of the embedded struct is not promoted.
type around struct {
	hiddenPart `config:",squash"`
}

func (around) Validate() error { return nil }

// TestEveryShapeIsAsked: Validate is called on every value of a type that has it.
func TestEveryShapeIsAsked(t *testing.T) {
	type shapes struct {
		F asked
		P *asked
		L []asked
		Q []*asked
		A [2]asked
		M map[string]asked
		X map[string][]map[string]*asked
		S config.Secret[asked]
		T []config.Secret[asked]
		U config.Secret[map[string]asked]
		H asked `config:"h,secret"`
		K map[word]int
		W []word
		E Embedded
		Z struct {
			Embedded `config:",squash"`
		}
		R around
		Y struct {
			Y asked `config:",squash"`
		}
	}
	for text, want := range map[string]string{
		"f: {n: -1}":             "f: invalid: -1 is below zero",
		"p: {n: -1}":             "p: invalid: -1 is below zero",
		"l: [{n: 1}, {n: -1}]":   "l[1]: invalid: -1",
		"q: [{n: -1}]":           "q[0]: invalid: -1",
		"a: [{n: 1}, {n: -1}]":   "a[1]: invalid: -1",
		"m: {a: {n: -1}}":        "m.a: invalid: -1",
		"x: {a: [{b: {n: -1}}]}": "x.a[0].b: invalid: -1",
		"s: {n: -1}":             "s: invalid: is refused by its method Validate, whose message is not shown",
		"t: [{n: -1}]":           "t[0]: invalid: is refused",
		"u: {hunter: {n: -1}}":   "u: invalid: is refused",
		"h: {n: -1}":             "h: invalid: is refused",
		"k: {a b: 1}":            `k."a b": invalid: is more than a word`,
		"w: [a, a b]":            "w[1]: invalid: is more than a word",
		"e: {n: -1}":             "e: invalid: -1",
		"z: {n: -1}":             "z: invalid: -1",
		"r: {n: -1}":             "r: invalid: -1",
		"y: {n: -1}":             "y: invalid: -1",
	} {
		_, err := config.Load[shapes](t.Context(), options(yaml(text)))
		if !errors.Is(err, config.ErrInvalid) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter") {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if n := strings.Count(err.Error(), "invalid"); n != 1 {
			t.Errorf("%s: reported %d times: %v", text, n, err)
		}
	}
	cfg, err := config.Load[shapes](t.Context(), options(yaml("l: [{}]\nm: {a: {}}\ns: {n: 1}\nx: {a: [{b: {}}]}\n")))
	must(t, err)
	if c := cfg.Get(); !slices.Equal([]bool{c.F.Done, c.L[0].Done, c.M["a"].Done, c.S.Reveal().Done, c.X["a"][0]["b"].Done}, []bool{true, true, true, true, true}) || c.P != nil {
		t.Errorf("the changes of Validate are lost: %+v", c)
	}
}

// TestTags: Load rejects tags without an effect, or without the intended one, at every depth.
func TestTags(t *testing.T) {
	type option struct {
		P string `config:"p,sekret"`
	}
	type nothing struct {
		P string `config:"p,"`
	}
	type unexported struct {
		p string `config:"p"` //nolint:unused // as in the mistake
	}
	_ = unexported{}.p
	type pointer struct {
		*Squashed `config:",squash"`
	}
	type text struct {
		S config.Secret[string] `config:",squash"`
	}
	type number struct {
		N int `config:",squash"`
	}
	type named struct {
		S struct{ A int } `config:"s,squash"`
	}
	type leftOut struct {
		A int `config:"-,secret"`
	}
	type def struct {
		Port int `default:"http"`
	}
	type misspelt struct {
		D []struct{ Host string } `default:"[{\"hsot\":\"a\"}]"`
	}
	type secretDefault struct {
		Pin config.Secret[int] `default:"hunter2"`
	}
	type endless struct {
		A int
		B *endless `default:"{\"a\":1}"`
	}
	type method struct{ E error }
	for name, test := range map[string]struct{ got, want string }{
		"option":           {refused[struct{ L []option }](t), `the tag ` + "`config`" + ` has no option "sekret": use squash or secret`},
		"empty option":     {refused[nothing](t), `no option ""`},
		"not exported":     {refused[struct{ M map[string]*unexported }](t), "a field that is not exported cannot be configured"},
		"squashed pointer": {refused[pointer](t), "cannot be squashed"},
		"squashed text":    {refused[struct{ P *text }](t), "cannot be squashed"},
		"squashed, deeper": {refused[struct {
			Deep `config:",squash"`
		}](t), "Deep.N: the type int cannot be squashed"},
		"squashed number":       {refused[config.Secret[number]](t), "invalid"},
		"squashed with a key":   {refused[struct{ S config.Secret[named] }](t), `a squashed struct has no key: remove "s" or squash`},
		"left out with options": {refused[leftOut](t), "takes no options"},
		"default in a list":     {refused[struct{ L []def }](t), `l[].port: the tag ` + "`default`" + `: invalid: "http" is not a whole number`},
		"default in a Secret":   {refused[struct{ S config.Secret[def] }](t), "s.port: the tag `default`: invalid: is not a whole number"},
		"default in a map":      {refused[struct{ M map[string]*def }](t), "m.*.port: the tag `default`"},
		"key of a default":      {refused[misspelt](t), "d[0].hsot: invalid: the tag `default`: unknown key: did you mean host?"},
		"default of a Secret":   {refused[secretDefault](t), "pin: the tag `default`: invalid: is not a whole number"},
		"endless default":       {refused[endless](t), "contains itself"},
		"interface":             {refused[method](t), "e: the type error cannot be configured"},
	} {
		if !strings.Contains(test.got, test.want) || strings.Contains(test.got, "hunter2") {
			t.Errorf("%s: %s\nwant %s", name, test.got, test.want)
		}
	}
	type squashes struct {
		hiddenPart `config:",squash"`
	}
	cfg, err := config.Load[squashes](t.Context(), options(yaml("n: 3")))
	must(t, err)
	if cfg.Get().N != 3 {
		t.Errorf("%+v", cfg.Get())
	}
}

// Deep squashes a field that cannot be squashed.
type Deep struct {
	N int `config:",squash"`
}
