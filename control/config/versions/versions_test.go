package versions_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-os/go-os/control/config"
	"github.com/go-os/go-os/control/config/versions"
	"github.com/go-os/go-os/internal/tooling/configtesting"
	"github.com/go-os/go-os/state/kv"
	kvdriver "github.com/go-os/go-os/state/kv/driver"
	"github.com/go-os/go-os/state/kv/memkv"
	"github.com/go-os/go-os/telemetry"
)

const layer = "prod/application/orders"

// failing is a store whose writes of one key can fail, before or after the write.
type failing struct {
	*memkv.Driver
	key           string
	before, after atomic.Bool
}

func (f *failing) Put(ctx context.Context, r kvdriver.PutRequest) (kvdriver.Version, error) {
	if r.Key == f.key && f.before.Load() {
		return 0, fmt.Errorf("%w: the machine has died", kvdriver.ErrUnavailable)
	}
	v, err := f.Driver.Put(ctx, r)
	if r.Key == f.key && f.after.Load() {
		return 0, fmt.Errorf("%w: the answer is lost", kvdriver.ErrUnavailable)
	}
	return v, err
}

func newStore(t testing.TB, d kvdriver.Driver) *kv.Store {
	t.Helper()
	store := kv.New(d, &kv.Options{Telemetry: telemetry.Off()})
	t.Cleanup(func() { _ = store.Close() })
	return store
}

func versionsIn(t testing.TB, store *kv.Store, opts *versions.Options) *versions.Layer {
	t.Helper()
	if opts == nil {
		opts = &versions.Options{}
	}
	opts.Telemetry = telemetry.Off()
	v, err := versions.New(store, layer, opts)
	must(t, err)
	return v
}

func draft(text string) versions.Draft {
	return versions.Draft{Document: text, Format: config.YAML, Author: "ada", Message: "why not"}
}

func history(t testing.TB, v *versions.Layer) (numbers string) {
	t.Helper()
	for one, err := range v.History(t.Context()) {
		must(t, err)
		numbers += fmt.Sprintf("%d<%d ", one.Number, one.Parent)
	}
	return strings.TrimSpace(numbers)
}

// TestVersions publishes, compares, rolls back, and checks the history.
func TestVersions(t *testing.T) {
	ctx := t.Context()
	store := newStore(t, memkv.New(nil))
	v := versionsIn(t, store, nil)
	if _, err := v.Head(ctx); !errors.Is(err, config.ErrNotFound) {
		t.Errorf("the head of nothing: %v", err)
	}
	if got := history(t, v); got != "" {
		t.Errorf("the history of nothing: %s", got)
	}
	first := draft("retries: 1\ndb: {password: hunter2}\nname: a\n")
	first.Parent = versions.First
	one, err := v.Publish(ctx, first)
	must(t, err)
	if one.Number != 1 || one.Author != "ada" || one.Message != "why not" || one.Time.IsZero() || len(one.SHA256) != 64 {
		t.Errorf("%+v", one)
	}
	if _, err := v.Publish(ctx, first); !errors.Is(err, config.ErrConflict) || !strings.Contains(err.Error(), "version 1 was published meanwhile") {
		t.Errorf("a second first: %v", err)
	}
	second := draft("retries: 2\ndb: {password: hunter3}\ntags: [a]\n")
	second.Parent = 1
	_, err = v.Publish(ctx, second)
	must(t, err)
	if _, err := v.Publish(ctx, second); !errors.Is(err, config.ErrConflict) {
		t.Errorf("made from an old version: %v", err)
	}
	diff, err := v.Diff(ctx, 1, 2)
	must(t, err)
	want := "[~ db.password: [redacted] → [redacted] - name: \"a\" ~ retries: 1 → 2 + tags: [\"a\"]]"
	if got := fmt.Sprint(diff); got != want {
		t.Errorf("diff\ngot  %s\nwant %s", got, want)
	}
	back, err := v.Rollback(ctx, 1, "bob", "")
	must(t, err)
	if back.Number != 3 || back.Parent != 2 || back.Restored != 1 || back.Document != first.Document || back.Message != "rollback to version 1" || back.Author != "bob" {
		t.Errorf("%+v", back)
	}
	if got := history(t, v); got != "3<2 2<1 1<0" {
		t.Errorf("history: %s", got)
	}
	for n := 4; n <= 40; n++ {
		publish(t, v, fmt.Sprintf("retries: %d\n", n%10))
	}
	if got := history(t, v); !strings.HasPrefix(got, "40<39 39<38") || !strings.HasSuffix(got, " 2<1 1<0") || strings.Count(got, " ") != 39 {
		t.Errorf("history: %s", got)
	}
	if _, err := v.Get(ctx, 41); !errors.Is(err, config.ErrNotFound) {
		t.Errorf("a version that is not there: %v", err)
	}
	if _, err := v.Rollback(ctx, 41, "bob", ""); !errors.Is(err, config.ErrNotFound) {
		t.Errorf("back to a version that is not there: %v", err)
	}
}

// TestPublishLimits: Publish rejects invalid drafts before it writes.
func TestPublishLimits(t *testing.T) {
	store := newStore(t, memkv.New(nil))
	v := versionsIn(t, store, &versions.Options{
		MaxSize: 1000, Check: versions.Check[service](),
		Schema: []byte(`{"type": "object", "additionalProperties": false, "required": ["retries"], "properties": {"retries": {"type": "integer", "maximum": 10},
			"name": {"type": "string", "pattern": "^[a-z]+$"}, "db": {"type": "object", "properties": {"password": {"type": "string", "minLength": 9}}}, "peers": {"items": {"required": ["host"]}}, "tags": {}}}`),
	})
	for name, test := range map[string]struct {
		edit func(*versions.Draft)
		is   error
		want string
	}{
		"author":       {func(d *versions.Draft) { d.Author = "" }, config.ErrInvalid, "name the publisher"},
		"long message": {func(d *versions.Draft) { d.Message = strings.Repeat("x", 5000) }, config.ErrTooLarge, "the limit of each is 4096 bytes"},
		"not UTF-8":    {func(d *versions.Draft) { d.Message = "\xff" }, config.ErrInvalid, "UTF-8"},
		"too large":    {func(d *versions.Draft) { d.Document += strings.Repeat("#", 1000) }, config.ErrTooLarge, "the limit is 1000"},
		"format":       {func(d *versions.Draft) { d.Format = "ini" }, config.ErrInvalid, `Draft.Format: the format "ini" is none of yaml`},
		"parent":       {func(d *versions.Draft) { d.Parent = -5 }, config.ErrInvalid, "Draft.Parent is -5: give the number of a version, 0 for the current one, or First for none"},
		"syntax":       {func(d *versions.Draft) { d.Document = "a: b: c" }, config.ErrSyntax, "draft.yaml"},
		"empty":        {func(d *versions.Draft) { d.Document = "" }, config.ErrSyntax, "is empty"},
		"required":     {func(d *versions.Draft) { d.Document = "name: x\n" }, config.ErrInvalid, "lacks retries"},
		"unknown":      {func(d *versions.Draft) { d.Document = "retries: 1\nretires: 1\n" }, config.ErrInvalid, "has keys that the schema does not allow: retires"},
		"type":         {func(d *versions.Draft) { d.Document = "name: x\nretries: no\n" }, config.ErrInvalid, "draft.yaml:2: retries: invalid: is string, and must be integer"},
		"maximum":      {func(d *versions.Draft) { d.Document = "retries: 11\n" }, config.ErrInvalid, "must be at most 10"},
		"pattern":      {func(d *versions.Draft) { d.Document = "retries: 1\nname: hunter2\n" }, config.ErrInvalid, "name: invalid: must match ^[a-z]+$"},
		"secret":       {func(d *versions.Draft) { d.Document = "retries: 1\ndb: {password: hunter2}\n" }, config.ErrInvalid, "db.password: invalid: must be at least 9 characters long"},
		"list":         {func(d *versions.Draft) { d.Document = "retries: 1\npeers:\n- host: a\n- port: 1\n" }, config.ErrInvalid, "draft.yaml:4: peers[1]: invalid: lacks host"},
		"type of Go":   {func(d *versions.Draft) { d.Document = "retries: 1\ntags: {a: 1}\n" }, config.ErrInvalid, "tags: invalid: is a group of keys, not a list"},
	} {
		d := draft("retries: 1\n")
		test.edit(&d)
		_, err := v.Publish(t.Context(), d)
		if !errors.Is(err, test.is) || !strings.Contains(fmt.Sprint(err), test.want) || strings.Contains(fmt.Sprint(err), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := history(t, v); got != "" {
		t.Errorf("refused drafts were written: %s", got)
	}
	for _, schema := range []string{`{`, `{"type": 3}`, `{"$ref": "file:///etc/passwd"}`, `{"$ref": "http://localhost/x"}`} {
		if _, err := versions.New(store, layer, &versions.Options{Schema: []byte(schema)}); !errors.Is(err, config.ErrInvalid) {
			t.Errorf("schema %s: %v", schema, err)
		}
	}
	if _, err := versions.New(store, layer, &versions.Options{MaxSize: -1}); !errors.Is(err, config.ErrInvalid) || !strings.Contains(err.Error(), "Options.MaxSize is -1") {
		t.Errorf("a negative size: %v", err)
	}
	if _, err := versions.New(store, "", nil); !errors.Is(err, config.ErrInvalid) {
		t.Errorf("no layer: %v", err)
	}
}

// TestPublishRace publishes concurrently: each number has one document, and none is overwritten.
func TestPublishRace(t *testing.T) {
	store := newStore(t, memkv.New(nil))
	var group sync.WaitGroup
	var mu sync.Mutex
	won := map[int]string{}
	var conflicts atomic.Int64
	for who := range 8 {
		v := versionsIn(t, store, nil)
		group.Go(func() {
			for n := range 25 {
				d := draft(fmt.Sprintf("name: p%d-%d\n", who, n))
				out, err := v.Publish(context.Background(), d)
				switch {
				case errors.Is(err, config.ErrConflict):
					conflicts.Add(1)
				case err != nil:
					t.Error(err)
				default:
					mu.Lock()
					if won[out.Number] != "" {
						t.Errorf("version %d was published twice", out.Number)
					}
					won[out.Number] = d.Document
					mu.Unlock()
				}
			}
		})
	}
	group.Wait()
	v := versionsIn(t, store, nil)
	head, err := v.Head(t.Context())
	must(t, err)
	chain := 0
	for n := head.Stable; n > 0; {
		one, err := v.Get(t.Context(), n)
		must(t, err)
		if won[n] != one.Document {
			t.Errorf("version %d holds %q, published was %q", n, one.Document, won[n])
		}
		chain++
		n = one.Parent
	}
	if chain != len(won) || chain+int(conflicts.Load()) != 200 {
		t.Errorf("%d published, %d of them lead to the head, %d conflicts", len(won), chain, conflicts.Load())
	}
	t.Logf("%d published, %d conflicts", len(won), conflicts.Load())
}

// TestPublishDies: the publisher fails between its two writes, or loses the response.
func TestPublishDies(t *testing.T) {
	d := &failing{Driver: memkv.New(nil), key: layer + "/head"}
	store := newStore(t, d)
	v := versionsIn(t, store, nil)
	publish(t, v, "retries: 1\n")
	cfg := load(t, versions.Published(store, &versions.PublishedOptions{Layers: []string{layer}}))

	d.before.Store(true)
	if _, err := v.Publish(t.Context(), draft("retries: 2\n")); !errors.Is(err, config.ErrUnavailable) {
		t.Errorf("died: %v", err)
	}
	d.before.Store(false)
	must(t, cfg.Reload(t.Context()))
	if head, err := v.Head(t.Context()); err != nil || head.Stable != 1 || cfg.Get().Retries != 1 {
		t.Errorf("an interrupted publication is in force: %+v, %v", head, err)
	}
	if out := publish(t, v, "retries: 3\n"); out.Number != 3 || out.Parent != 1 {
		t.Errorf("the next: %+v", out)
	}
	if got := history(t, v); got != "3<1 2<1 1<0" {
		t.Errorf("history: %s", got)
	}
	must(t, cfg.Reload(t.Context()))
	if cfg.Get().Retries != 3 || cfg.Snapshot().Version != layer+"@3" {
		t.Errorf("%+v", cfg.Snapshot())
	}
	d.after.Store(true)
	if out, err := v.Publish(t.Context(), draft("retries: 4\n")); err != nil || out.Number != 4 {
		t.Errorf("written, and the answer lost: %+v, %v", out, err)
	}
}

// TestDamage: a version that was modified and a head that was deleted are errors.
func TestDamage(t *testing.T) {
	store := newStore(t, memkv.New(nil))
	v := versionsIn(t, store, nil)
	publish(t, v, "retries: 1\n")
	cfg := load(t, versions.Published(store, &versions.PublishedOptions{Layers: []string{layer}}))
	publish(t, v, "retries: 2\n")
	key := layer + "/v/0000000002"
	found, err := store.Get(t.Context(), key)
	must(t, err)
	_, err = store.Put(t.Context(), key, []byte(strings.Replace(string(found.Value), "retries: 2", "retries: 9", 1)))
	must(t, err)
	if err := cfg.Reload(t.Context()); !errors.Is(err, config.ErrInvalid) || !strings.Contains(err.Error(), "is damaged") || cfg.Get().Retries != 1 {
		t.Errorf("%v, %+v", err, cfg.Get())
	}
	_, err = store.Put(t.Context(), key, found.Value)
	must(t, err, cfg.Reload(t.Context()), store.Delete(t.Context(), layer+"/head"))
	if err := cfg.Reload(t.Context()); !errors.Is(err, config.ErrNotFound) || cfg.Get().Retries != 2 {
		t.Errorf("the head is gone: %v, %+v", err, cfg.Get())
	}
}

// TestKeyGone: the value of a deleted key stays in force, unless the key is optional.
func TestKeyGone(t *testing.T) {
	store := newStore(t, memkv.New(nil))
	for _, key := range []string{"needed.yaml", "optional.yaml"} {
		_, err := store.Put(t.Context(), key, []byte(strings.TrimSuffix(key, ".yaml")+"_text: 1\n"))
		must(t, err)
	}
	type texts struct{ NeededText, OptionalText int }
	cfg, err := config.Load[texts](t.Context(), options(versions.Key(store, "needed.yaml", nil), versions.Key(store, "optional.yaml", &versions.KeyOptions{Optional: true})))
	must(t, err, store.Delete(t.Context(), "needed.yaml"), store.Delete(t.Context(), "optional.yaml"))
	if err := cfg.Reload(t.Context()); !errors.Is(err, config.ErrNotFound) || *cfg.Get() != (texts{1, 0}) {
		t.Errorf("%v, %+v", err, cfg.Get())
	}
}

// TestLayers merges the layers of a namespace.
func TestLayers(t *testing.T) {
	store := newStore(t, memkv.New(nil))
	ns := versions.Namespace{Environment: "prod", Region: "eu", Application: "orders", Instance: "orders-7"}
	want := []string{"base", "prod/base", "prod/region/eu", "prod/application/orders", "prod/application/orders/region/eu", "prod/application/orders/instance/orders-7"}
	if got := ns.Layers(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("layers: %v", got)
	}
	cfg := load(t, versions.Published(store, &versions.PublishedOptions{Layers: ns.Layers()}))
	for i, name := range want {
		v, err := versions.New(store, name, &versions.Options{Telemetry: telemetry.Off()})
		must(t, err)
		publish(t, v, fmt.Sprintf("retries: %d\nprices: {p%d: {cents: 1}}\n", i, i))
		must(t, cfg.Reload(t.Context()))
		if got := cfg.Get(); got.Retries != i || len(got.Prices) != i+1 {
			t.Errorf("with %s: %+v", name, got)
		}
	}
	if got := cfg.Snapshot().Version; got != strings.Join(want, "@1+")+"@1" {
		t.Errorf("version: %s", got)
	}
	if origin, _ := cfg.Snapshot().Origin("retries"); len(origin.Overrode) != 6 || origin.Document != want[5]+"@1" {
		t.Errorf("origin: %+v", origin)
	}
}

// TestFollowVersions: an instance follows publications, and reports.
func TestFollowVersions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := kv.New(memkv.New(nil), &kv.Options{Telemetry: telemetry.Off()})
		defer func() { _ = store.Close() }()
		v := versionsIn(t, store, nil)
		cfg := load(t, versions.Published(store, &versions.PublishedOptions{Layers: []string{layer}, Instance: "orders-7"}))
		defer configtesting.Start(t, cfg)()
		synctest.Wait()
		for n := 1; n <= 5; n++ {
			publish(t, v, fmt.Sprintf("retries: %d\n", n))
			synctest.Wait()
			if got := cfg.Get().Retries; got != n {
				t.Fatalf("after version %d: %d", n, got)
			}
		}
		instances := func() string {
			all, err := v.Instances(t.Context())
			must(t, err)
			var text []string
			for _, one := range all {
				text = append(text, fmt.Sprintf("%s runs %d, refused %d %q", one.Name, one.Version, one.Rejected, one.Reason))
			}
			return strings.Join(text, "; ")
		}
		if got := instances(); got != `orders-7 runs 5, refused 0 ""` {
			t.Errorf("reports: %s", got)
		}
		publish(t, v, "retries: 99\n")
		synctest.Wait()
		if got := instances(); !strings.HasPrefix(got, "orders-7 runs 5, refused 6") || !strings.Contains(got, "must be at most 10") {
			t.Errorf("reports: %s", got)
		}
		time.Sleep(10 * time.Minute)
		if got := instances(); !strings.HasPrefix(got, "orders-7 runs 5, refused 6") {
			t.Errorf("the report has expired: %s", got)
		}
	})
}
