package document

import (
	"reflect"
	"slices"
)

// place is a position in a configuration: its path, its type, and whether its value may be shown.
type place struct {
	path   string
	typ    reflect.Type // nil: the type has no such key
	hidden bool         // in a secret, or below an unknown key
}

// unwrapped returns the place with the type behind pointers and Secrets.
func (p place) unwrapped() place {
	for p.typ != nil {
		switch {
		case p.typ.Kind() == reflect.Pointer:
			p.typ = p.typ.Elem()
		case isSecret(p.typ):
			p.typ, p.hidden = secretType(p.typ), true
		default:
			return p
		}
	}
	return p
}

// field returns the place of a field of the struct at p.
func (p place) field(f field) place {
	return place{path: JoinKey(p.path, f.name), typ: f.typ, hidden: p.hidden || f.secret}
}

// part returns the place of a part of the struct at p.
func (p place) part(f part) place {
	next := place{path: p.path, typ: f.Type, hidden: p.hidden || f.secret}
	if !f.squash {
		next.path = JoinKey(p.path, f.name)
	}
	return next
}

// element returns the place of an element of the list at p.
func (p place) element(i int, t reflect.Type) place {
	return place{path: JoinIndex(p.path, i), typ: t, hidden: p.hidden || isSecret(t)}
}

// entry returns the place of a key of the map at p. The keys of a secret map are secret, too, so its entries have the path of the map.
func (p place) entry(key string, t reflect.Type) place {
	next := place{path: p.path, typ: t, hidden: p.hidden || isSecret(t)}
	if !p.hidden {
		next.path = JoinKey(p.path, key)
	}
	return next
}

// unknown returns the place of a key that the type at p does not have. The key may be a misspelt secret.
func (p place) unknown(key string) place {
	return place{path: JoinKey(p.path, key), hidden: true}
}

// key returns the place of a key, for any type at p.
func (p place) key(key string) place {
	p = p.unwrapped()
	if p.typ == nil {
		return p.unknown(key)
	}
	switch shapeOf(p.typ) {
	case object:
		fields := fieldsOf(p.typ)
		if i := slices.IndexFunc(fields, func(f field) bool { return f.name == key }); i >= 0 {
			return p.field(fields[i])
		}
	case table:
		return p.entry(key, p.typ.Elem())
	case anything:
		return p.entry(key, p.typ)
	}
	return p.unknown(key)
}

// index returns the place of an element, for any type at p.
func (p place) index(i int) place {
	p = p.unwrapped()
	switch {
	case p.typ == nil:
	case shapeOf(p.typ) == list:
		return p.element(i, p.typ.Elem())
	case shapeOf(p.typ) == anything:
		return p.element(i, p.typ)
	}
	return place{path: JoinIndex(p.path, i), hidden: true}
}

// sealed reports whether the keys below p are hidden, too. Only the keys of a struct are known not to be secret.
func (p place) sealed() bool {
	p = p.unwrapped()
	return p.hidden && (p.typ == nil || shapeOf(p.typ) != object)
}

// holdsSecret reports whether a value of a type can contain a secret.
func holdsSecret(t reflect.Type) bool { return reaches(t, func(at place) bool { return at.hidden }) }

// reaches reports whether a condition holds for a type or for one below it, with pointers and Secrets unwrapped.
func reaches(t reflect.Type, condition func(place) bool) bool {
	return reachesFrom(place{typ: t}, condition, map[reflect.Type]bool{})
}

func reachesFrom(at place, condition func(place) bool, seen map[reflect.Type]bool) bool {
	at = at.unwrapped()
	if condition(at) {
		return true
	}
	if seen[at.typ] {
		return false
	}
	seen[at.typ] = true
	switch shapeOf(at.typ) {
	case object:
		return slices.ContainsFunc(partsOf(at.typ), func(p part) bool { return reachesFrom(at.part(p), condition, seen) })
	case table:
		return reachesFrom(place{typ: at.typ.Key()}, condition, seen) || reachesFrom(at.any(), condition, seen)
	case list:
		return reachesFrom(at.any(), condition, seen)
	}
	return false
}
