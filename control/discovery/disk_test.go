package discovery_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/control/discovery/driver"
	"github.com/go-os/go-os/telemetry"
	"github.com/go-os/go-os/telemetry/telemetrytest"
)

// savingResolver returns a Resolver that saves its snapshots. The test closes it.
func savingResolver(t *testing.T, r driver.Reader, dir string) *discovery.Resolver {
	t.Helper()
	resolver, err := discovery.NewResolver(r, &discovery.ResolverOptions{SnapshotDir: dir, Telemetry: telemetry.Off()})
	if err != nil {
		t.Fatal(err)
	}
	return resolver
}

// closed closes a Resolver.
func closed(t *testing.T, r *discovery.Resolver) {
	t.Helper()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
}

// silent is a registry that does not answer.
type silent struct{}

func (silent) System() string { return "silent" }
func (silent) Close() error   { return nil }
func (silent) Watch(ctx context.Context, _ string, _ func(driver.Event) error) error {
	<-ctx.Done()
	return nil
}

// TestColdStart starts a process while the registry is away: it has the instances of the previous process within 100 ms, and their age.
func TestColdStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, dir := newFixture(t), t.TempDir()
		registrar := f.registrar()
		f.register(registrar, 0)
		f.register(registrar, 1)
		before := savingResolver(t, f.registry(), dir)
		f.expect(before, " i0 i1")
		closed(t, before)
		time.Sleep(time.Hour)

		unplugged := newCable(f.registry())
		unplugged.unplug()
		for name, registry := range map[string]driver.Reader{"silent": silent{}, "failing": unplugged} {
			began := time.Now()
			after := savingResolver(t, registry, dir)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			s, err := after.Lookup(ctx, "orders")
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if took := time.Since(began); took > 100*time.Millisecond {
				t.Errorf("%s: answered after %v", name, took)
			}
			if got := fmt.Sprint(names(s.Instances)); got != "[i0 i1]" {
				t.Errorf("%s: instances %s", name, got)
			}
			if age := s.Age(); age < time.Hour || age > time.Hour+2*time.Second {
				t.Errorf("%s: age %v after an hour", name, age)
			}
			closed(t, after)
		}
	})
}

// TestColdStartThenAnswer delays the registry's answer until the saved snapshot was used. Instances missing from it were lost or died: the
// rules of holds apply. An hour after the snapshot they are gone.
func TestColdStartThenAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, dir := newFixture(t), t.TempDir()
		for n := range 3 {
			f.put(fmt.Sprint("dead", n))
		}
		before := savingResolver(t, f.registry(), dir)
		f.expect(before, " dead0 dead1 dead2")
		closed(t, before)
		time.Sleep(30 * time.Minute)
		f.register(f.registrar(), 0)

		cable := newCable(f.registry())
		cable.unplug()
		after := savingResolver(t, cable, dir)
		defer closed(t, after)
		f.expect(after, " dead0 dead1 dead2")
		cable.plug()
		time.Sleep(10 * time.Second)
		f.expect(after, " dead0 dead1 dead2 i0 held 3")
		time.Sleep(31 * time.Minute)
		f.expect(after, " i0")
	})
}

// TestAnswerBeforeFile: the answer of a registry that answers at once is used, not the file.
func TestAnswerBeforeFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, dir := newFixture(t), t.TempDir()
		f.put("dead")
		before := savingResolver(t, f.registry(), dir)
		f.expect(before, " dead")
		closed(t, before)
		time.Sleep(time.Minute)
		f.register(f.registrar(), 0)
		after := savingResolver(t, f.registry(), dir)
		defer closed(t, after)
		f.expect(after, " i0")
	})
}

// TestUnusableFiles: a file that is damaged, of another version, of another service or open to others is not used, and reported once.
func TestUnusableFiles(t *testing.T) {
	valid := `{"format":1,"saved":"2026-01-01T00:00:00Z","records":[%s]}`
	record := `{"Service":"%s","ID":"i0","State":"up","Addresses":{"grpc":"%s"}}`
	for name, c := range map[string]struct {
		text string
		mode os.FileMode
		want string
	}{
		"damaged":         {`{"format":1,"saved":`, 0o600, "unexpected end"},
		"other version":   {`{"format":2}`, 0o600, "format 2"},
		"other service":   {fmt.Sprintf(valid, fmt.Sprintf(record, "carts", "10.0.0.1:1")), 0o600, `service "carts"`},
		"invalid address": {fmt.Sprintf(valid, fmt.Sprintf(record, "orders", "10.0.0.1")), 0o600, "missing port"},
		"open to others":  {fmt.Sprintf(valid, fmt.Sprintf(record, "orders", "10.0.0.1:1")), 0o644, "mode 0644"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "orders.json")
			if err := os.WriteFile(path, []byte(c.text), c.mode); err != nil {
				t.Fatal(err)
			}
			recorded := telemetrytest.New()
			resolver, err := discovery.NewResolver(silent{}, &discovery.ResolverOptions{SnapshotDir: dir, Telemetry: recorded.Providers})
			if err != nil {
				t.Fatal(err)
			}
			defer closed(t, resolver)
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			if _, err := resolver.Lookup(ctx, "orders"); !errors.Is(err, discovery.ErrUnavailable) {
				t.Errorf("Lookup: %v, want ErrUnavailable", err)
			}
			var reports []string
			for _, e := range recorded.Events() {
				if e.Name == "goos.discovery.snapshot.failed" {
					reports = append(reports, fmt.Sprint(e.Attributes["exception.message"]))
				}
			}
			if len(reports) != 1 || !strings.Contains(reports[0], c.want) || !strings.Contains(reports[0], path) {
				t.Errorf("reports %q, want one with %q and the path", reports, c.want)
			}
		})
	}
}

// TestFolderThatCannotBeWritten: lookups work, and the reason is reported once.
func TestFolderThatCannotBeWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		registrar := f.registrar()
		f.register(registrar, 0)
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		recorded := telemetrytest.New()
		resolver, err := discovery.NewResolver(f.registry(), &discovery.ResolverOptions{SnapshotDir: filepath.Join(file, "x"), Telemetry: recorded.Providers})
		if err != nil {
			t.Fatal(err)
		}
		f.expect(resolver, " i0")
		time.Sleep(time.Hour)
		f.register(registrar, 1)
		f.expect(resolver, " i0 i1")
		closed(t, resolver)
		reports := 0
		for _, e := range recorded.Events() {
			if e.Name == "goos.discovery.snapshot.failed" {
				reports++
			}
		}
		if reports != 2 { // it could not be read, and not be written
			t.Errorf("%d reports, want 2: %v", reports, recorded.Events())
		}
	})
}

// TestFileOfAnEarlierFleet starts a process long after the fleet was replaced, on a registry that takes longer than the patience with it.
// The instances of the file deregistered long ago, and must not be held.
func TestFileOfAnEarlierFleet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, dir := newFixture(t), t.TempDir()
		old := f.registrar()
		for n := range 3 {
			f.register(old, n)
		}
		before := savingResolver(t, f.registry(), dir)
		f.expect(before, " i0 i1 i2")
		closed(t, before)
		time.Sleep(time.Second)
		_ = old.Close()
		time.Sleep(20 * time.Minute) // goodbyes have ended
		r2 := f.registrar()
		for n := 10; n < 13; n++ {
			f.register(r2, n)
		}
		slow := slowReader{f.registry()}
		now := savingResolver(t, slow, dir)
		defer closed(t, now)
		_, _ = now.Lookup(t.Context(), "orders")
		time.Sleep(time.Second)
		if got := ids(t, now); got != " i10 i11 i12" {
			t.Errorf("instances%s, want i10 i11 i12: the fleet was replaced with goodbyes 20 minutes ago", got)
		}
	})
}

// slowReader answers after 100 ms.
type slowReader struct{ driver.Reader }

func (s slowReader) Watch(ctx context.Context, service string, emit func(driver.Event) error) error {
	time.Sleep(100 * time.Millisecond)
	return s.Reader.Watch(ctx, service, emit)
}
