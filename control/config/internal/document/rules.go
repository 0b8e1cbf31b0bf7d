package document

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/go-playground/validator/v10"

	"github.com/go-os/go-os/control/config/driver"
)

// ruleTag is the struct tag with the rules of the validator.
const ruleTag = "validate"

// trialTag is the struct tag for trying single rules.
const trialTag = "trial"

// newRules returns a validator for the rules below a type. It applies them to elements of lists and maps without dive, too. It returns an
// error for each rule that does not exist or does not fit its field. The validator itself would panic at the first value, possibly much
// later.
func newRules(t reflect.Type) (*validator.Validate, error) {
	r := &ruleSet{full: newValidator(t), trial: newValidator(t), seen: map[reflect.Type]bool{}}
	r.trial.SetTagName(trialTag)
	eachStruct(t, r.add)
	if err := errors.Join(r.errs...); err != nil {
		return nil, err
	}
	if err := contained(func() { _ = r.full.Struct(reflect.New(t).Interface()) }); err != nil {
		return nil, fmt.Errorf("%w: the tags `validate` of %s: %w", driver.ErrInvalid, t, err)
	}
	return r.full, nil
}

// ruleSet collects the rules of struct types.
type ruleSet struct {
	full  *validator.Validate // all rules
	trial *validator.Validate // rules of the types that try builds
	seen  map[reflect.Type]bool
	errs  []error
}

// add tries the rules of a struct and of structs squashed into it, and registers those that need a dive.
func (r *ruleSet) add(t reflect.Type, at place) {
	if r.seen[t] {
		return
	}
	r.seen[t] = true
	tags := map[string]string{}
	for _, p := range partsOf(t) {
		if p.squashable() {
			r.add(p.Type, at)
		}
		tag := p.Tag.Get(ruleTag)
		if tag == "-" || !p.IsExported() {
			continue
		}
		for _, one := range singleRules(tag) {
			if err := r.try(one, t, p); err != nil {
				r.errs = append(r.errs, fmt.Errorf("%w: %s: the rule %s does not fit %s %s: %w", driver.ErrInvalid, at.part(p).path, one, p.Name, p.Type, err))
			}
		}
		if full := withDives(tag, p.Type); full != tag {
			tags[p.Name] = full
		}
	}
	if len(tags) > 0 {
		r.full.RegisterStructValidationMapRules(tags, reflect.Zero(t).Interface())
	}
}

// newValidator returns a validator that unwraps the Secrets below a type.
func newValidator(t reflect.Type) *validator.Validate {
	rules := validator.New(validator.WithRequiredStructEnabled())
	if secrets := secretTypes(t); len(secrets) > 0 {
		rules.RegisterCustomTypeFunc(func(v reflect.Value) any { return v.Interface().(secret).inner() }, secrets...)
	}
	return rules
}

// secretTypes returns a value of each Secret type below t.
func secretTypes(t reflect.Type) (all []any) {
	seen := map[reflect.Type]bool{}
	collect := func(t reflect.Type) {
		for t = indirect(t); !seen[t]; t = indirect(t) {
			seen[t] = true
			switch {
			case isSecret(t):
				all = append(all, reflect.Zero(t).Interface())
				t = secretType(t)
			case shapeOf(t) == table, shapeOf(t) == list:
				t = t.Elem()
			}
		}
	}
	eachStruct(t, func(t reflect.Type, _ place) {
		for _, f := range fieldsOf(t) {
			collect(f.typ)
		}
	})
	return all
}

// rule is one rule of a tag.
type rule struct {
	dives       string // the dives before it: "dive,keys,"
	name, param string
	hasParam    bool
	end         string // the end of the keys
}

// String writes the rule as its tag does.
func (r rule) String() string {
	if r.hasParam {
		return r.dives + r.name + "=" + r.param + r.end
	}
	return r.dives + r.name + r.end
}

// singleRules splits a tag into single rules: a validator that stops at the first broken rule would not try the others.
func singleRules(tag string) (all []rule) {
	dives, end := "", ""
	for one := range strings.SplitSeq(tag, ",") {
		switch one {
		case "dive":
			dives += "dive,"
		case "keys":
			dives, end = dives+"keys,", ",endkeys"
		case "endkeys":
			dives, end = strings.TrimSuffix(dives, "keys,"), ""
		case "", "omitempty", "omitnil", "omitzero", "structonly", "nostructlevel":
		default:
			for alternative := range strings.SplitSeq(one, "|") {
				r := rule{dives: dives, end: end}
				r.name, r.param, r.hasParam = strings.Cut(alternative, "=")
				all = append(all, r)
			}
		}
	}
	return all
}

// withDives returns the tag of a field with a dive for every list or map above a struct that has rules.
func withDives(tag string, t reflect.Type) string {
	levels := strings.Count(","+tag+",", ",dive,")
	for at := (place{typ: t}).unwrapped(); shapeOf(at.typ) == list || shapeOf(at.typ) == table; at = at.any().unwrapped() {
		if levels--; levels >= 0 {
			continue
		}
		if !hasRules(at.typ.Elem()) {
			break
		}
		tag = strings.TrimPrefix(tag+",omitnil,dive", ",")
	}
	return tag
}

// hasRules reports whether a type, or one below it, has a `validate` tag.
func hasRules(t reflect.Type) bool {
	return reaches(t, func(at place) bool {
		return shapeOf(at.typ) == object && slices.ContainsFunc(partsOf(at.typ), func(p part) bool { return p.Tag.Get(ruleTag) != "" })
	})
}

// try applies a rule to a struct like t in which the field is set, and returns why it does not fit.
func (r *ruleSet) try(one rule, t reflect.Type, p part) error {
	for _, name := range one.fields() {
		if _, ok := t.FieldByName(name); !ok {
			return fmt.Errorf("%s has no field %s", t, name)
		}
	}
	if kind := one.target(p.Type).Kind(); textRules[one.name] && kind != reflect.String && kind != reflect.Interface {
		return errors.New("it is a rule for texts")
	}
	var fields []reflect.StructField
	for f := range t.Fields() {
		if !f.IsExported() {
			continue
		}
		like := reflect.StructField{Name: f.Name, Type: f.Type}
		if f.Name == p.Name {
			like.Tag = reflect.StructTag(fmt.Sprintf("%s:%q", trialTag, one))
		}
		fields = append(fields, like)
	}
	like := reflect.New(reflect.StructOf(fields))
	sample(like.Elem().FieldByName(p.Name), 0)
	return contained(func() { _ = r.trial.Struct(like.Interface()) })
}

// sample sets a value so that a rule behind its dives is applied.
func sample(v reflect.Value, depth int) {
	const deepest = 8 // types may be recursive
	if depth++; depth > deepest {
		return
	}
	t := v.Type()
	switch {
	case t.Kind() == reflect.Pointer:
		v.Set(reflect.New(t.Elem()))
		sample(v.Elem(), depth)
	case isSecret(t):
		inner := reflect.New(secretType(t)).Elem()
		sample(inner, depth)
		v.Addr().Interface().(settable).conceal(inner)
	case t.Kind() == reflect.Slice:
		v.Set(reflect.MakeSlice(t, 1, 1))
		sample(v.Index(0), depth)
	case t.Kind() == reflect.Array && t.Len() > 0:
		sample(v.Index(0), depth)
	case t.Kind() == reflect.Map:
		element := reflect.New(t.Elem()).Elem()
		sample(element, depth)
		v.Set(reflect.MakeMap(t))
		v.SetMapIndex(reflect.Zero(t.Key()), element)
	}
}

// target returns the type to which a rule of a field is applied.
func (r rule) target(t reflect.Type) reflect.Type {
	t = place{typ: t}.unwrapped().typ
	for step := range strings.SplitSeq(r.dives, ",") {
		switch kind := t.Kind(); {
		case step == "keys" && kind == reflect.Map:
			return t.Key()
		case step == "dive" && r.end != "" && strings.HasSuffix(r.dives, "dive,keys,") && kind == reflect.Map:
			// the keys of this map, if no other dive follows
		case step == "dive" && (kind == reflect.Map || kind == reflect.Slice || kind == reflect.Array):
			t = place{typ: t.Elem()}.unwrapped().typ
		}
	}
	return t
}

// fields returns the fields that a rule names in its parameter.
func (r rule) fields() (names []string) {
	words := strings.Fields(r.param)
	switch r.name {
	case "eqfield", "nefield", "gtfield", "gtefield", "ltfield", "ltefield", "fieldcontains", "fieldexcludes":
		names = words[:min(1, len(words))]
	case "required_with", "required_with_all", "required_without", "required_without_all",
		"excluded_with", "excluded_with_all", "excluded_without", "excluded_without_all":
		names = words
	case "required_if", "required_unless", "excluded_if", "excluded_unless", "skip_unless":
		for i := 0; i < len(words); i += 2 {
			names = append(names, words[i])
		}
	}
	for i, name := range names {
		names[i] = name[:strings.IndexAny(name+".", ".[")]
	}
	return names
}

// textRules are the validator's rules for texts. For a number, the validator would apply them to the text "<int Value>".
var textRules = setOf(`alpha alphaspace alphanum alphanumspace alphaunicode alphanumunicode hexadecimal hexcolor rgb rgba hsl hsla
	iscolor e164 email url http_url https_url uri urn_rfc2141 file filepath base32 base64 base64url base64rawurl contains containsany
	containsrune excludes excludesall excludesrune startswith endswith startsnotwith endsnotwith image isbn isbn10 isbn13 issn eth_addr
	eth_addr_checksum btc_addr btc_addr_bech32 uuid uuid3 uuid4 uuid5 uuid_rfc4122 uuid3_rfc4122 uuid4_rfc4122 uuid5_rfc4122 ulid md4
	md5 sha256 sha384 sha512 ripemd128 ripemd160 tiger128 tiger160 tiger192 ascii printascii multibyte datauri ssn ipv4 ipv6 ip cidrv4
	cidrv6 cidr tcp4_addr tcp6_addr tcp_addr udp4_addr udp6_addr udp_addr ip4_addr ip6_addr ip_addr unix_addr uds_exists mac hostname
	hostname_rfc1123 fqdn html html_encoded url_encoded dir dirpath json jwt hostname_port lowercase uppercase datetime timezone
	iso3166_1_alpha2 iso3166_1_alpha3 iso3166_2 iso4217 bcp47_language_tag bic bic_iso_9362_2014 semver dns_rfc1035_label cve mongodb
	mongodb_connection_string cron spicedb ein`)

func setOf(words string) map[string]bool {
	set := map[string]bool{}
	for word := range strings.FieldsSeq(words) {
		set[word] = true
	}
	return set
}

// contained calls a function, and returns its panic as an error.
func contained(call func()) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("%v", v)
		}
	}()
	call()
	return nil
}
