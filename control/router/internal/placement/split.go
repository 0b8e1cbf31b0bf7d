package placement

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"

	"github.com/go-os/go-os/internal/fault"
	"github.com/go-os/go-os/internal/sanitize"
)

// Whole is the sum of the weights of a split: they are basis points, hundredths of a percent.
const Whole = 10000

// MaxArms is how many arms a split may have.
const MaxArms = 64

// maxName is the length of the longest name of an arm, in bytes. It keeps span attributes and metrics small.
const maxName = 64

// Arm is one alternative of a split.
type Arm struct {
	// Name of the arm, such as "canary". It is recorded on spans and metrics.
	Name string
	// Weight is the share of requests in basis points: 500 is 5 %.
	Weight int
	// Select chooses the instances of the arm.
	Select Selector
	// Fallback is what happens when no instance matches Select. Empty means FallbackAny. FallbackDefault means the instances of the last arm.
	Fallback Fallback
}

// Split divides the requests of a service between arms.
//
// The arm of a key depends on the salt and the weights only, so all clients agree and a key keeps its arm. An arm that grows loses no key,
// and one that shrinks gains none, as long as the last arm pays for the change: list the arm that gives up requests last. Up to three arms,
// such a change then moves no other key. With more, an arm may also take keys from the arms between it and the last one. No function of the
// weights alone can avoid that for all changes (Bavarian et al., "Optimality of Correlated Sampling Strategies", 2020).
type Split struct {
	// Salt makes splits independent: the name of the experiment. Another salt gives every key another arm. Empty means the salt of Compile.
	Salt string
	// Arms of the split. Their weights add up to Whole.
	Arms []Arm
}

// Validate returns fault.Invalid for a split without meaning.
func (s Split) Validate() error {
	if len(s.Arms) == 0 || len(s.Arms) > MaxArms {
		return fmt.Errorf("%w: a split with %d arms: use 1 to %d", fault.Invalid, len(s.Arms), MaxArms)
	}
	names, sum := map[string]bool{}, 0
	for i, arm := range s.Arms {
		if err := arm.validate(i); err != nil {
			return err
		}
		if names[arm.Name] {
			return fmt.Errorf("%w: duplicate arm %q", fault.Invalid, arm.Name)
		}
		names[arm.Name] = true
		sum += arm.Weight
	}
	if sum != Whole {
		return fmt.Errorf("%w: the weights of the arms add up to %d: make it %d (basis points)", fault.Invalid, sum, Whole)
	}
	return nil
}

func (a Arm) validate(i int) error {
	switch name := sanitize.Text(a.Name, maxName); {
	case a.Name == "":
		return fmt.Errorf("%w: arm %d has no name", fault.Invalid, i)
	case name != a.Name:
		return fmt.Errorf("%w: arm %q: use a name in UTF-8 of at most %d bytes", fault.Invalid, name, maxName)
	case a.Weight < 0 || a.Weight > Whole:
		return fmt.Errorf("%w: arm %q has weight %d: use 0 to %d (basis points)", fault.Invalid, name, a.Weight, Whole)
	}
	if err := a.Fallback.Validate(); err != nil {
		return fmt.Errorf("arm %q: %w", a.Name, err)
	}
	return a.Select.Validate(fmt.Sprintf("arm %q", a.Name))
}

// Assignment is a split that is ready for requests. It is immutable.
type Assignment struct {
	arms  []Arm
	seed  uint64
	owner [Whole]uint8 // index of the arm of each bucket
}

// Compile returns the assignment of a valid split, and fault.Invalid for another one. salt is used if the split has none: the name of the
// service.
func (s Split) Compile(salt string) (*Assignment, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	if s.Salt != "" {
		salt = s.Salt
	}
	a := &Assignment{arms: s.Arms, seed: hash(splitSeed, salt)}
	a.assign()
	return a, nil
}

// assign gives each arm its buckets. In turn, each takes the first free buckets in an order of its own, and the last takes the rest. Thus
// the buckets of an arm only grow with its weight.
func (a *Assignment) assign() {
	last := len(a.arms) - 1
	for bucket := range a.owner {
		a.owner[bucket] = uint8(last)
	}
	taken := make([]bool, Whole)
	for arm := range last {
		left := a.arms[arm].Weight
		for _, bucket := range a.order(arm) {
			if left > 0 && !taken[bucket] {
				taken[bucket], a.owner[bucket] = true, uint8(arm)
				left--
			}
		}
	}
}

// order returns the order in which an arm takes buckets. The first arm takes them from below and the second one from above, so that they
// never meet. The others have a random order, by name: where they meet earlier arms, that is by chance.
func (a *Assignment) order(arm int) []int {
	buckets := make([]int, Whole)
	for i := range buckets {
		buckets[i] = i
	}
	switch arm {
	case 0:
		return buckets
	case 1:
		slices.Reverse(buckets)
		return buckets
	}
	scores, seed := make([]uint64, Whole), hash(orderSeed, a.arms[arm].Name)
	for i := range scores {
		scores[i] = hash(seed, strconv.Itoa(i))
	}
	slices.SortFunc(buckets, func(a, b int) int { return cmp.Compare(scores[a], scores[b]) })
	return buckets
}

// Arm returns the index of the arm of a key. It does not allocate.
func (a *Assignment) Arm(key string) int { return int(a.owner[hash(a.seed, key)%Whole]) }

// Random returns the index of an arm for a request without a key. random is a random number.
func (a *Assignment) Random(random uint64) int { return int(a.owner[random%Whole]) }

// Index returns the index of the arm with this name, for a decision that was made elsewhere.
func (a *Assignment) Index(name string) (index int, ok bool) {
	for i := range a.arms {
		if a.arms[i].Name == name {
			return i, true
		}
	}
	return 0, false
}

// Arms returns the arms in their order. They must not be changed.
func (a *Assignment) Arms() []Arm { return a.arms }
