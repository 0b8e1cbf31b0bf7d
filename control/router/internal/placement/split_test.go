package placement_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/go-os/go-os/control/router/internal/placement"
	"github.com/go-os/go-os/internal/fault"
)

// split returns a split of these weights, with arms "a", "b", ….
func split(weights ...int) (s placement.Split) {
	for i, w := range weights {
		s.Arms = append(s.Arms, placement.Arm{Name: string(rune('a' + i)), Weight: w})
	}
	return s
}

func compile(t *testing.T, s placement.Split, salt string) *placement.Assignment {
	t.Helper()
	a, err := s.Compile(salt)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// moved returns, in basis points of all buckets, how many keys change from one arm to another.
func moved(before, after *placement.Assignment) map[[2]int]int {
	changes := map[[2]int]int{}
	for bucket := range uint64(placement.Whole) {
		if from, to := before.Random(bucket), after.Random(bucket); from != to {
			changes[[2]int{from, to}]++
		}
	}
	return changes
}

// TestSplitExact: an arm has exactly its weight of the buckets, and a weight of zero has none.
func TestSplitExact(t *testing.T) {
	for _, weights := range [][]int{
		{10000}, {500, 9500}, {0, 10000}, {10000, 0}, {1, 1, 9998}, {3333, 3333, 3334}, {100, 0, 200, 300, 0, 400, 9000}, {2500, 2500, 2500, 2500},
	} {
		a, counts := compile(t, split(weights...), "salt"), make([]int, len(weights))
		for bucket := range uint64(placement.Whole) {
			counts[a.Random(bucket)]++
		}
		if fmt.Sprint(counts) != fmt.Sprint(weights) {
			t.Errorf("the arms have %v buckets, want %v", counts, weights)
		}
	}
}

// TestSplitMonotone grows and shrinks arms at the expense of the last one. With up to three arms nobody moves who need not.
func TestSplitMonotone(t *testing.T) {
	for name, c := range map[string]struct {
		before, after []int
		want          map[[2]int]int
	}{
		"5 to 10 %":                {[]int{500, 9500}, []int{1000, 9000}, map[[2]int]int{{1, 0}: 500}},
		"10 to 5 %":                {[]int{1000, 9000}, []int{500, 9500}, map[[2]int]int{{0, 1}: 500}},
		"past the half":            {[]int{4000, 6000}, []int{7000, 3000}, map[[2]int]int{{1, 0}: 3000}},
		"to the end":               {[]int{9000, 1000}, []int{10000, 0}, map[[2]int]int{{1, 0}: 1000}},
		"listed last":              {[]int{9500, 500}, []int{9000, 1000}, map[[2]int]int{{0, 1}: 500}},
		"the first of three":       {[]int{500, 500, 9000}, []int{1000, 500, 8500}, map[[2]int]int{{2, 0}: 500}},
		"the second of three":      {[]int{500, 500, 9000}, []int{500, 1000, 8500}, map[[2]int]int{{2, 1}: 500}},
		"both":                     {[]int{500, 500, 9000}, []int{700, 900, 8400}, map[[2]int]int{{2, 0}: 200, {2, 1}: 400}},
		"from one to another":      {[]int{500, 500, 9000}, []int{400, 600, 9000}, map[[2]int]int{{0, 2}: 100, {2, 1}: 100}},
		"nothing":                  {[]int{500, 500, 9000}, []int{500, 500, 9000}, map[[2]int]int{}},
		"the rest shrinks to none": {[]int{3000, 3000, 4000}, []int{5000, 5000, 0}, map[[2]int]int{{2, 0}: 2000, {2, 1}: 2000}},
	} {
		if got := moved(compile(t, split(c.before...), "s"), compile(t, split(c.after...), "s")); fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%s: %v basis points move, want %v", name, got, c.want)
		}
	}
}

// TestSplitManyArms grows one of several arms at the expense of the last one. Nobody leaves it, and few others move.
func TestSplitManyArms(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	for range 5 {
		weights := make([]int, 4+random.IntN(6))
		last := len(weights) - 1
		weights[last] = placement.Whole
		for i := range last {
			weights[i] = random.IntN(600)
			weights[last] -= weights[i]
		}
		before := compile(t, split(weights...), "s")
		arm, by := random.IntN(last), random.IntN(400)
		weights[arm] += by
		weights[last] -= by
		total := 0
		for change, n := range moved(before, compile(t, split(weights...), "s")) {
			total += n
			if change[0] == arm {
				t.Fatalf("%v: %d basis points leave arm %d, which grows", weights, n, arm)
			}
		}
		if total < by || total > 2*by+100 {
			t.Fatalf("%v: arm %d grows by %d, and %d move", weights, arm, by, total)
		}
	}
}

// TestSplitSticky: the arm of a key is the same at every client, and its share of keys is its weight.
func TestSplitSticky(t *testing.T) {
	a, b := compile(t, split(500, 9500), "orders"), compile(t, split(500, 9500), "orders")
	const keys = 100000
	in := 0
	for i := range keys {
		key := fmt.Sprintf("user-%d", i)
		if a.Arm(key) != b.Arm(key) {
			t.Fatalf("%s is in two arms", key)
		}
		if a.Arm(key) == 0 {
			in++
		}
	}
	if want := keys * 0.05; math.Abs(float64(in)-want) > 5*math.Sqrt(want) {
		t.Errorf("%d of %d keys are in an arm of 5 %%", in, keys)
	}
}

// TestIndependence: the arm of a key says nothing about its arm in another split, its place on the hash ring, or the subset of a client of
// that name. With one salt for all, the halves would be the same.
func TestIndependence(t *testing.T) {
	one, two := compile(t, split(5000, 5000), "one"), compile(t, split(5000, 5000), "two")
	named := split(5000, 5000)
	named.Salt = "two"
	same := compile(t, named, "one")
	ids := names("server", 2)
	const keys = 20000
	for name, other := range map[string]func(string) bool{
		"another split": func(key string) bool { return two.Arm(key) == 0 },
		"hash ring":     func(key string) bool { return placement.KeyHash(key) < math.MaxUint64/2 },
		"hash modulo":   func(key string) bool { return placement.KeyHash(key)%placement.Whole < placement.Whole/2 },
		"subset":        func(key string) bool { return placement.Subset(key, ids, 1)[0] == 0 },
	} {
		agree := 0
		for i := range keys {
			key := fmt.Sprint("key", i)
			if (one.Arm(key) == 0) == other(key) {
				agree++
			}
		}
		if math.Abs(float64(agree)-keys/2) > 5*math.Sqrt(keys)/2 {
			t.Errorf("%s: %d of %d keys are in the same half, want half of them", name, agree, keys)
		}
	}
	for i := range 1000 {
		if key := fmt.Sprint("key", i); same.Arm(key) != two.Arm(key) {
			t.Fatal("the salt of the split does not count")
		}
	}
}

func TestSplitNames(t *testing.T) {
	a := compile(t, split(500, 9500), "s")
	if i, ok := a.Index("b"); i != 1 || !ok {
		t.Errorf("arm b is %d, %v", i, ok)
	}
	if _, ok := a.Index("z"); ok {
		t.Error("there is an arm z")
	}
	if arms := a.Arms(); len(arms) != 2 || arms[0].Name != "a" {
		t.Errorf("the arms are %v", arms)
	}
}

func TestSplitValidate(t *testing.T) {
	one := func(a placement.Arm) placement.Split { return placement.Split{Arms: []placement.Arm{a}} }
	for want, s := range map[string]placement.Split{
		"invalid: a split with 0 arms: use 1 to 64":                                               {},
		"invalid: a split with 65 arms: use 1 to 64":                                              split(make([]int, 65)...),
		"invalid: the weights of the arms add up to 9999: make it 10000 (basis points)":           split(499, 9500),
		"invalid: the weights of the arms add up to 10500: make it 10000 (basis points)":          split(1000, 9500),
		`invalid: arm "a" has weight -1: use 0 to 10000 (basis points)`:                           split(-1, 10001),
		`invalid: arm "b" has weight 10001: use 0 to 10000 (basis points)`:                        split(0, 10001),
		`invalid: duplicate arm "a"`:                                                              {Arms: append(split(5000).Arms, split(5000).Arms...)},
		"invalid: arm 0 has no name":                                                              one(placement.Arm{Weight: 10000}),
		`invalid: arm "` + strings.Repeat("x", 64) + `": use a name in UTF-8 of at most 64 bytes`: one(placement.Arm{Name: strings.Repeat("x", 65), Weight: 10000}),
		`arm "a": invalid: fallback "b": use any, none or default`:                                one(placement.Arm{Name: "a", Weight: 10000, Fallback: "b"}),
		`invalid: arm "a" has a label without a name: name it`:                                    one(placement.Arm{Name: "a", Weight: 10000, Select: placement.Selector{All: labels{"": "x"}}}),
	} {
		if _, err := s.Compile("s"); !errors.Is(err, fault.Invalid) || err.Error() != want {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// TestSplitAlloc: the arm of a request costs no memory.
func TestSplitAlloc(t *testing.T) {
	a := compile(t, split(500, 9500), "s")
	if n := testing.AllocsPerRun(100, func() { a.Arm("user-42"); a.Random(42); placement.KeyHash("user-42") }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func BenchmarkArm(b *testing.B) {
	a, err := split(500, 9500).Compile("s")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		a.Arm("0f3c2e4a-user-42")
	}
}
