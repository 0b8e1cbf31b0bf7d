package document

import (
	"encoding"
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/go-os/go-os/control/config/driver"
)

// tagName is the struct tag that names a key, with the options "secret" and "squash": `config:"max_conns,secret"`.
const tagName = "config"

// field is one key of a struct.
type field struct {
	name   string // the key
	index  []int  // for reflect.Value.FieldByIndex
	typ    reflect.Type
	secret bool
	def    *string // of the tag default
}

var (
	typeOfDuration  = reflect.TypeFor[time.Duration]()
	typeOfTime      = reflect.TypeFor[time.Time]()
	typeOfURL       = reflect.TypeFor[url.URL]()
	typeOfText      = reflect.TypeFor[encoding.TextUnmarshaler]()
	typeOfSettable  = reflect.TypeFor[settable]()
	typeOfValidator = reflect.TypeFor[selfChecker]()
)

// part is a field of a struct as declared in Go, with its parsed tag.
type part struct {
	reflect.StructField
	name   string // the key, or empty if squashed
	squash bool
	secret bool
}

// partsOf returns the fields of a struct that belong to the configuration. A squashed struct is one part.
func partsOf(t reflect.Type) (all []part) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get(tagName), ",")
		p := part{StructField: f, name: name, squash: has(options, "squash"), secret: has(options, "secret") || isSecret(f.Type)}
		if name == "-" || !f.IsExported() && !(f.Anonymous && p.squash) {
			continue
		}
		if name == "" && !p.squash {
			p.name = snake(f.Name)
		}
		all = append(all, p)
	}
	return all
}

// squashable reports whether a part is squashed and can be. A pointer may be nil, and a text has no keys.
func (p part) squashable() bool {
	return p.squash && p.Type.Kind() == reflect.Struct && shapeOf(p.Type) == object
}

// knownFields caches the fields of struct types, which are few and live as long as the program.
var knownFields sync.Map // reflect.Type → []field

// fieldsOf returns the keys of a struct type, including those of squashed structs.
func fieldsOf(t reflect.Type) []field {
	if known, ok := knownFields.Load(t); ok {
		return known.([]field)
	}
	var all []field
	for _, p := range partsOf(t) {
		if p.squash {
			all = append(all, squashedFields(p)...)
			continue
		}
		one := field{name: p.name, index: p.Index, typ: p.Type, secret: p.secret}
		if def, ok := p.Tag.Lookup("default"); ok {
			one.def = &def
		}
		all = append(all, one)
	}
	knownFields.Store(t, all)
	return all
}

func squashedFields(p part) (all []field) {
	if !p.squashable() {
		return nil // checkParts reports it
	}
	for _, inner := range fieldsOf(p.Type) {
		inner.index = append(slices.Clone(p.Index), inner.index...)
		inner.secret = inner.secret || p.secret
		all = append(all, inner)
	}
	return all
}

func has(options, option string) bool { return slices.Contains(strings.Split(options, ","), option) }

// snake converts MaxConns to max_conns, HTTPPort to http_port, UserIDs to user_ids and IPv4Address to ipv4_address.
func snake(name string) string {
	runes := []rune(name)
	var out strings.Builder
	for i, r := range runes {
		if i > 0 && runes[i-1] != '_' && beginsWord(runes, i) {
			out.WriteByte('_')
		}
		out.WriteRune(unicode.ToLower(r))
	}
	return out.String()
}

// beginsWord reports whether a word begins at i: at the first upper-case letter after other letters, or at the last of several upper-case
// letters before lower-case ones. The s of IDs and the v of IPv4 count as upper case.
func beginsWord(runes []rune, i int) bool {
	at := func(i int) rune {
		if i < 0 || i >= len(runes) {
			return 0
		}
		return runes[i]
	}
	switch {
	case !unicode.IsUpper(runes[i]):
		return false
	case !unicode.IsUpper(runes[i-1]):
		return true
	case at(i+1) == 's' && !unicode.IsLower(at(i+2)):
		return at(i) == 'M' && unicode.IsUpper(at(i-2)) // TTLMs is ttl_ms, and VMs is vms
	case at(i+1) == 'v' && unicode.IsDigit(at(i+2)):
		return false
	}
	return unicode.IsLower(at(i + 1))
}

func indirect(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t
}

func isSecret(t reflect.Type) bool { return reflect.PointerTo(indirect(t)).Implements(typeOfSettable) }

// secretType returns the type of the value in a Secret.
func secretType(t reflect.Type) reflect.Type {
	return reflect.Zero(indirect(t)).Interface().(secret).innerType()
}

// shape is the kind of value at a place of a configuration.
type shape int

const (
	scalar shape = iota // a single value, such as a text
	object              // a struct, whose keys are known
	table               // a map, with any keys
	list
	anything
)

func shapeOf(t reflect.Type) shape {
	t = indirect(t)
	switch {
	case t == typeOfTime, t == typeOfURL, isSecret(t), reflect.PointerTo(t).Implements(typeOfText):
		return scalar
	}
	switch t.Kind() {
	case reflect.Struct:
		return object
	case reflect.Map:
		return table
	case reflect.Slice, reflect.Array:
		return list
	case reflect.Interface:
		return anything
	default:
		return scalar
	}
}

// IsScalar reports whether values of a type are written as single values.
func IsScalar(t reflect.Type) bool { return shapeOf(t) == scalar }

// eachStruct visits each struct type in t once, with the path of its first occurrence.
func eachStruct(t reflect.Type, visit func(t reflect.Type, at place)) {
	eachStructBelow(place{typ: t}, map[reflect.Type]bool{}, visit)
}

func eachStructBelow(at place, seen map[reflect.Type]bool, visit func(reflect.Type, place)) {
	at = at.unwrapped()
	switch shapeOf(at.typ) {
	case object:
		if seen[at.typ] {
			return
		}
		seen[at.typ] = true
		visit(at.typ, at)
		for _, f := range fieldsOf(at.typ) {
			eachStructBelow(at.field(f), seen, visit)
		}
	case table, list:
		eachStructBelow(at.any(), seen, visit)
	}
}

// any returns the place of every element of the list or map at p.
func (p place) any() place {
	next := place{path: p.path + "[]", typ: p.typ.Elem(), hidden: p.hidden}
	if shapeOf(p.typ) == table {
		next.path = JoinKey(p.path, "*")
	}
	return next
}

// checkTags returns the tags `config` below a type that cannot work.
func checkTags(t reflect.Type) error {
	var errs []error
	eachStruct(t, func(t reflect.Type, _ place) { errs = append(errs, checkParts(t)) })
	return errors.Join(errs...)
}

// checkType returns why a type cannot be configured: values that no text can express, and keys that exist twice.
func checkType(t reflect.Type) error {
	switch {
	case t.Kind() != reflect.Struct:
		return fmt.Errorf("%w: the type of a configuration is a struct, not %s", driver.ErrInvalid, t)
	case shapeOf(t) != object:
		return fmt.Errorf("%w: the type of a configuration is a struct of keys; %s is written as one text", driver.ErrInvalid, t)
	}
	var errs []error
	eachStruct(t, func(t reflect.Type, at place) { errs = append(errs, checkFields(t, at)) })
	return errors.Join(errs...)
}

func checkFields(t reflect.Type, at place) (err error) {
	names := map[string]bool{}
	for _, f := range fieldsOf(t) {
		next := at.field(f)
		if names[f.name] {
			err = errors.Join(err, fmt.Errorf("%w: two fields of %s have the key %s", driver.ErrInvalid, t, next.path))
		}
		names[f.name] = true
		err = errors.Join(err, checkElem(next))
	}
	return err
}

// checkParts reports tags without an effect, or without the intended one.
func checkParts(t reflect.Type) (err error) {
	for f := range t.Fields() {
		if problem := checkTag(f); problem != "" {
			err = errors.Join(err, fmt.Errorf("%w: %s.%s: %s", driver.ErrInvalid, t, f.Name, problem))
		}
	}
	for _, p := range partsOf(t) {
		if p.squashable() {
			err = errors.Join(err, checkParts(p.Type))
		}
	}
	return err
}

func checkTag(f reflect.StructField) string {
	tag, tagged := f.Tag.Lookup(tagName)
	name, options, more := strings.Cut(tag, ",")
	squash := has(options, "squash")
	_, isDefault := f.Tag.Lookup("default")
	_, isRule := f.Tag.Lookup("validate")
	for option := range strings.SplitSeq(options, ",") {
		if more && option != "squash" && option != "secret" {
			return fmt.Sprintf("the tag `config` has no option %q: use squash or secret", option)
		}
	}
	switch {
	case name == "-" && more:
		return "the tag `config:\"-\"` takes no options: it leaves the field out"
	case name == "-":
		return ""
	case !f.IsExported() && !f.Anonymous && (tagged || isDefault || isRule):
		return "a field that is not exported cannot be configured: export it, or remove its tags"
	case squash && (f.Type.Kind() != reflect.Struct || shapeOf(f.Type) != object):
		return fmt.Sprintf("the type %s cannot be squashed: only a struct with keys of its own can, and no pointer to one", f.Type)
	case squash && name != "":
		return fmt.Sprintf("a squashed struct has no key: remove %q or squash", name)
	case squash && isDefault:
		return "a squashed struct has no default: give its fields theirs"
	}
	return ""
}

// checkElem returns why values of a type cannot be written in a document.
func checkElem(at place) error {
	at = at.unwrapped()
	switch shapeOf(at.typ) {
	case table:
		if at.typ.Key().Kind() != reflect.String {
			return fmt.Errorf("%w: %s: the keys of a map are strings, not %s", driver.ErrInvalid, at.path, at.typ.Key())
		}
		return checkElem(at.any())
	case list:
		return checkElem(at.any())
	case anything:
		if at.typ.NumMethod() > 0 {
			return cannotConfigure(at)
		}
	case scalar:
		switch at.typ.Kind() {
		case reflect.Chan, reflect.Func, reflect.Complex64, reflect.Complex128, reflect.UnsafePointer, reflect.Uintptr:
			if !reflect.PointerTo(at.typ).Implements(typeOfText) {
				return cannotConfigure(at)
			}
		}
	}
	return nil
}

func cannotConfigure(at place) error {
	return fmt.Errorf("%w: %s: the type %s cannot be configured; the tag `config:\"-\"` leaves the field out", driver.ErrInvalid, at.path, at.typ)
}

// JoinKey appends a key to a path: db.pool.max, prices."v1.2".
func JoinKey(path, key string) string {
	if key == "" || strings.ContainsFunc(key, needsQuotes) {
		key = fmt.Sprintf("%q", key)
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

// needsQuotes reports whether a path quotes a key with this character.
func needsQuotes(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', '0' <= r && r <= '9', r == '_', r == '-': // the common case
		return false
	}
	return r == '.' || r == '"' || r == '[' || r == ']' || r == ' ' || !unicode.IsPrint(r)
}

// JoinIndex appends the index of an element to a path.
func JoinIndex(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }

// KeysOf returns the keys of a type. The key of a struct precedes the keys in it.
func KeysOf(t reflect.Type) []driver.Key { return appendKeys(nil, t, nil, nil) }

func appendKeys(all []driver.Key, t reflect.Type, path []string, above []reflect.Type) []driver.Key {
	if slices.Contains(above, t) {
		return all
	}
	above = append(above, t)
	for _, f := range fieldsOf(t) {
		at := append(slices.Clip(path), f.name)
		all = append(all, driver.Key{Path: at, Type: f.typ})
		if inner := indirect(f.typ); shapeOf(inner) == object {
			all = appendKeys(all, inner, at, above)
		}
	}
	return all
}
