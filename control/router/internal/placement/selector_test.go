package placement_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/go-os/go-os/control/router/internal/placement"
	"github.com/go-os/go-os/internal/fault"
)

type labels = map[string]string

var labelled = []placement.Candidate{
	{ID: "0", Zone: "a", Version: "1", Labels: labels{"tenant": "acme", "tier": "gold"}},
	{ID: "1", Zone: "b", Version: "1", Labels: labels{"tenant": "acme"}},
	{ID: "2", Zone: "a", Version: "2", Labels: labels{"tenant": "umbra", "tier": "gold"}},
	{ID: "3", Labels: labels{"version": "9"}}, // the label hides the field
	{ID: "4", Version: "2"},
}

func TestSelector(t *testing.T) {
	for name, c := range map[string]struct {
		s    placement.Selector
		want []int
	}{
		"zero":                  {placement.Selector{}, []int{0, 1, 2, 3, 4}},
		"all":                   {placement.Selector{All: labels{"tenant": "acme", "tier": "gold"}}, []int{0}},
		"any":                   {placement.Selector{Any: labels{"tenant": "acme", "tier": "gold"}}, []int{0, 1, 2}},
		"none":                  {placement.Selector{None: labels{"tenant": "acme", "tier": "gold"}}, []int{3, 4}},
		"zone":                  {placement.Selector{All: labels{"zone": "a"}}, []int{0, 2}},
		"version":               {placement.Selector{All: labels{"version": "2"}}, []int{2, 4}},
		"a label hides a field": {placement.Selector{All: labels{"version": "9"}}, []int{3}},
		"the case counts":       {placement.Selector{All: labels{"tenant": "Acme"}}, nil},
		"empty value":           {placement.Selector{All: labels{"zone": ""}}, nil},
		"all groups":            {placement.Selector{All: labels{"tier": "gold"}, Any: labels{"zone": "a"}, None: labels{"version": "2"}}, []int{0}},
	} {
		chosen, choice := placement.Choose(labelled, c.s, placement.FallbackNone, nil)
		if !slices.Equal(chosen, c.want) {
			t.Errorf("%s: chose %v, want %v", name, chosen, c.want)
		}
		if want := len(c.want) > 0; (choice == placement.ChoseMatching) != want {
			t.Errorf("%s: the choice is %q", name, choice)
		}
	}
}

func TestMatch(t *testing.T) {
	given := labels{"tenant": "acme", "tier": "gold"}
	for match, want := range map[placement.Match][]int{
		"": {0}, placement.MatchAll: {0}, placement.MatchAny: {0, 1, 2}, placement.MatchNone: {3, 4},
	} {
		if chosen, _ := placement.Choose(labelled, match.Selector(given), placement.FallbackNone, nil); !slices.Equal(chosen, want) {
			t.Errorf("%q: chose %v, want %v", match, chosen, want)
		}
	}
}

func TestFallback(t *testing.T) {
	unknown := placement.Selector{All: labels{"tenant": "initech"}}
	second := placement.Selector{All: labels{"version": "2"}}
	for name, c := range map[string]struct {
		fallback placement.Fallback
		standard *placement.Selector
		want     []int
		choice   placement.Choice
	}{
		"unset":                   {"", nil, []int{0, 1, 2, 3, 4}, placement.ChoseAny},
		"any":                     {placement.FallbackAny, &second, []int{0, 1, 2, 3, 4}, placement.ChoseAny},
		"none":                    {placement.FallbackNone, &second, nil, placement.ChoseNone},
		"default":                 {placement.FallbackDefault, &second, []int{2, 4}, placement.ChoseDefault},
		"default without one":     {placement.FallbackDefault, nil, []int{0, 1, 2, 3, 4}, placement.ChoseDefault},
		"default without a match": {placement.FallbackDefault, &unknown, nil, placement.ChoseNone},
	} {
		chosen, choice := placement.Choose(labelled, unknown, c.fallback, c.standard)
		if !slices.Equal(chosen, c.want) || choice != c.choice {
			t.Errorf("%s: chose %v (%s), want %v (%s)", name, chosen, choice, c.want, c.choice)
		}
	}
	if chosen, choice := placement.Choose(nil, unknown, placement.FallbackAny, nil); chosen != nil || choice != placement.ChoseNone {
		t.Errorf("without candidates: chose %v (%s)", chosen, choice)
	}
}

func TestSelectorValidate(t *testing.T) {
	for want, err := range map[string]error{
		`invalid: arm "x" has a label without a name: name it`:                     placement.Selector{Any: labels{"": "a"}}.Validate(`arm "x"`),
		`invalid: arm "x" requires and excludes "tier"="gold": remove one of them`: placement.Selector{All: labels{"tier": "gold"}, None: labels{"tier": "gold"}}.Validate(`arm "x"`),
		`invalid: match "some": use all, any or none`:                              placement.Match("some").Validate(),
		`invalid: fallback "some": use any, none or default`:                       placement.Fallback("some").Validate(),
	} {
		if !errors.Is(err, fault.Invalid) || err.Error() != want {
			t.Errorf("%v, want %q", err, want)
		}
	}
	for _, err := range []error{
		placement.Selector{All: labels{"tier": "gold"}, None: labels{"tier": "tin"}}.Validate("x"), placement.Match("").Validate(),
		placement.MatchNone.Validate(), placement.Fallback("").Validate(), placement.FallbackDefault.Validate(),
	} {
		if err != nil {
			t.Error(err)
		}
	}
}
