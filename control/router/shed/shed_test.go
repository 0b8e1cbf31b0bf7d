package shed_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/go-os/go-os/control/router/shed"
	"github.com/go-os/go-os/telemetry"
)

func newShedder(t testing.TB, o shed.Options) *shed.Shedder {
	t.Helper()
	o.Telemetry = telemetry.Off()
	s, err := shed.New(&o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestPriorityText(t *testing.T) {
	for p := shed.Sheddable; p <= shed.Critical; p++ {
		text, err := p.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var again shed.Priority
		if err := again.UnmarshalText(text); err != nil || again != p || string(text) != p.String() {
			t.Errorf("%v became %q and then %v, %v", p, text, again, err)
		}
	}
	for _, text := range []string{"", "HIGH", "exempt", "7", "critical "} {
		if p, err := shed.ParsePriority(text); !errors.Is(err, shed.ErrInvalid) || p != shed.Normal {
			t.Errorf("%q: %v, %v; want normal and invalid", text, p, err)
		}
	}
	for _, p := range []shed.Priority{shed.Exempt, -100, 100} {
		if text, err := p.MarshalText(); !errors.Is(err, shed.ErrInvalid) {
			t.Errorf("%d has the text form %q", int8(p), text)
		}
	}
	if got := shed.Priority(-100).String() + " " + shed.Exempt.String(); got != "sheddable exempt" {
		t.Errorf("%q, want sheddable exempt", got)
	}
}

func TestPriorityInContext(t *testing.T) {
	if p, ok := shed.PriorityFrom(t.Context()); p != shed.Normal || ok {
		t.Errorf("%v, %v without a priority; want normal, false", p, ok)
	}
	ctx := shed.WithPriority(t.Context(), shed.Low)
	if p, ok := shed.PriorityFrom(ctx); p != shed.Low || !ok {
		t.Errorf("%v, %v; want low, true", p, ok)
	}
}

func TestAdmitRefusesAtTheLimit(t *testing.T) {
	s := newShedder(t, shed.Options{InitialLimit: 5})
	var held []*shed.Admission
	for range 5 {
		a, ok := s.Admit(t.Context(), shed.Normal)
		if !ok {
			t.Fatal("refused below the limit")
		}
		held = append(held, &a)
	}
	for range 100 {
		a, ok := s.Admit(t.Context(), shed.Normal)
		if ok {
			t.Fatal("admitted above the limit")
		}
		a.Done(shed.Success) // does nothing
	}
	if st := s.Status(); st.InFlight != 5 || st.Limit != 5 || !st.Shedding || st.Refused["normal"] != 100 {
		t.Errorf("status %+v", st)
	}
	held[0].Done(shed.Ignored)
	held[0].Done(shed.Success) // the second call does nothing
	if n := s.Status().InFlight; n != 4 {
		t.Errorf("%d in flight after one request was done twice, want 4", n)
	}
	if _, ok := s.Admit(t.Context(), shed.Normal); !ok {
		t.Error("the place is not free")
	}
}

// TestRoomByPriority: a more important request finds a place where a less important one does not, and each finds one on an idle server, even
// at a limit of 1.
func TestRoomByPriority(t *testing.T) {
	for limit, rooms := range map[int][]int{
		1:   {1, 1, 1, 2, 3},
		5:   {3, 4, 5, 6, 7},
		100: {80, 90, 100, 110, 120},
	} {
		for i, room := range rooms {
			s := newShedder(t, shed.Options{MinLimit: 1, InitialLimit: limit})
			n := 0
			for ; n <= 200; n++ {
				if _, ok := s.Admit(t.Context(), shed.Priority(i)+shed.Sheddable); !ok {
					break
				}
			}
			if n != room {
				t.Errorf("limit %d: %d places for %v, want %d", limit, n, shed.Priority(i)+shed.Sheddable, room)
			}
		}
	}
}

func TestExemptIsNeverRefusedNorCounted(t *testing.T) {
	s := newShedder(t, shed.Options{MinLimit: 1, InitialLimit: 1})
	for range 10 {
		a, ok := s.Admit(t.Context(), shed.Exempt)
		if !ok {
			t.Fatal("a health check was refused")
		}
		a.Done(shed.Success)
		s.Admit(t.Context(), shed.Normal) // the first one takes the only place
	}
	if n := s.Status().InFlight; n != 1 {
		t.Errorf("%d in flight, want the one that is not exempt", n)
	}
}

func TestObserveRefusesNothing(t *testing.T) {
	s := newShedder(t, shed.Options{MinLimit: 1, InitialLimit: 2, Observe: true})
	var all []shed.Admission
	for range 10 {
		a, ok := s.Admit(t.Context(), shed.Low)
		if !ok {
			t.Fatal("refused although the Shedder observes")
		}
		all = append(all, a)
	}
	if st := s.Status(); st.InFlight != 10 || st.Refused["low"] != 9 {
		t.Errorf("status %+v, want 10 in flight, of which 9 would have been refused", st)
	}
	for i := range all {
		all[i].Done(shed.Success)
	}
	if n := s.Status().InFlight; n != 0 {
		t.Errorf("%d in flight at the end", n)
	}
}

func TestRetryAfter(t *testing.T) {
	s := newShedder(t, shed.Options{})
	seen := map[time.Duration]bool{}
	for range 100 {
		after := s.RetryAfter()
		if after < time.Second || after >= 3*time.Second {
			t.Fatalf("retry after %v, want one to three seconds", after)
		}
		seen[after] = true
	}
	if len(seen) < 50 {
		t.Errorf("%d different times of 100: all callers return at once", len(seen))
	}
}

func TestInvalidOptions(t *testing.T) {
	for want, o := range map[string]shed.Options{
		"invalid: shed.Options.MinLimit is -1: give a positive value, or 0 for the default, 4":                {MinLimit: -1},
		"invalid: shed.Options.MaxLimit is -1: give a positive value, or 0 for the default, 10000":            {MaxLimit: -1},
		"invalid: shed.Options.MaxLimit is 3, less than MinLimit, 4: give at least MinLimit":                  {MaxLimit: 3},
		"invalid: shed.Options.InitialLimit is 2: give a value from MinLimit, 4, to MaxLimit, 10000":          {InitialLimit: 2},
		"invalid: shed.Options.InitialLimit is -2: give a positive value, or 0 for the default, 100":          {InitialLimit: -2},
		"invalid: shed.Options.InitialLimit is 20000: give a value from MinLimit, 4, to MaxLimit, " + "10000": {InitialLimit: 20_000},
	} {
		if _, err := shed.New(&o); !errors.Is(err, shed.ErrInvalid) || err.Error() != want {
			t.Errorf("%v, want %q", err, want)
		}
	}
	for _, o := range []*shed.Options{nil, {}, {MaxLimit: 10}, {MinLimit: 50_000}} {
		if _, err := shed.New(o); err != nil {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

// TestPlacesAreConserved: many callers with all priorities and outcomes leave nothing behind, and no more are in flight than the most
// important may have.
func TestPlacesAreConserved(t *testing.T) {
	s := newShedder(t, shed.Options{MinLimit: 1, MaxLimit: 10, InitialLimit: 10})
	var wg sync.WaitGroup
	for caller := range 16 {
		wg.Go(func() {
			for i := range 5000 {
				a, _ := s.Admit(t.Context(), shed.Priority((caller+i)%6)+shed.Sheddable)
				if n := s.Status().InFlight; n > 12 {
					t.Errorf("%d in flight, at most 12 have a place", n)
				}
				a.Done(shed.Outcome(i % 3))
			}
		})
	}
	wg.Wait()
	if n := s.Status().InFlight; n != 0 {
		t.Errorf("%d in flight at the end", n)
	}
}

func TestAllocsOfAdmit(t *testing.T) {
	s := newShedder(t, shed.Options{MinLimit: 1, InitialLimit: 1})
	ctx := context.Background()
	if n := testing.AllocsPerRun(1000, func() {
		a, _ := s.Admit(ctx, shed.Normal)
		a.Done(shed.Success)
	}); n != 0 {
		t.Errorf("an admitted request allocates %v times", n)
	}
	s.Admit(ctx, shed.Normal)
	if n := testing.AllocsPerRun(1000, func() { s.Admit(ctx, shed.Normal) }); n != 0 {
		t.Errorf("a refused request allocates %v times", n)
	}
}

func BenchmarkAdmit(b *testing.B) {
	ctx := context.Background()
	b.Run("admitted", func(b *testing.B) {
		s := newShedder(b, shed.Options{})
		b.ReportAllocs()
		for b.Loop() {
			a, _ := s.Admit(ctx, shed.Normal)
			a.Done(shed.Success)
		}
	})
	b.Run("admitted/parallel", func(b *testing.B) {
		s := newShedder(b, shed.Options{})
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				a, _ := s.Admit(ctx, shed.Normal)
				a.Done(shed.Success)
			}
		})
	})
	b.Run("refused", func(b *testing.B) {
		s := newShedder(b, shed.Options{MinLimit: 1, InitialLimit: 1})
		s.Admit(ctx, shed.Normal)
		b.ReportAllocs()
		for b.Loop() {
			s.Admit(ctx, shed.Normal)
		}
	})
}
