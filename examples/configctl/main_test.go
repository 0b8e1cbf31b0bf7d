package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/go-os/go-os/control/config"
	"github.com/go-os/go-os/control/config/versions"
	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/boltkv"
	"github.com/go-os/go-os/state/kv/etcdkv"
	"github.com/go-os/go-os/telemetry"
)

const layer = "prod/application/shop"

// shell runs commands of configctl on one store.
type shell struct {
	t     *testing.T
	store string
	dir   string
}

// call runs a command and returns its output on both streams.
func (s shell) call(in string, args ...string) (string, error) {
	var out bytes.Buffer
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	err := run(ctx, append([]string{"-store", s.store, "-layer", layer, "-author", "ada"}, args...), strings.NewReader(in), &out, &out)
	return out.String(), err
}

// expect checks that a command succeeds and prints a text.
func (s shell) expect(want string, args ...string) {
	s.t.Helper()
	out, err := s.call("", args...)
	if err != nil || !strings.Contains(out, want) {
		s.t.Errorf("%v: %v\ngot  %s\nwant %s", args, err, out, want)
	}
}

// refuse checks that a command fails with an error.
func (s shell) refuse(is error, want string, args ...string) {
	s.t.Helper()
	out, err := s.call("", args...)
	if !errors.Is(err, is) || !strings.Contains(err.Error(), want) {
		s.t.Errorf("%v: %v\nwant %s\n%s", args, err, want, out)
	}
}

func (s shell) file(name, text string) string {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// TestCommands runs all commands on a bolt file.
func TestCommands(t *testing.T) {
	dir := t.TempDir()
	s := shell{t, "bolt://" + filepath.Join(dir, "config.db"), dir}
	s.refuse(config.ErrNotFound, "nothing was published in layer "+layer, "history")
	one, two := s.file("one.yaml", "a: 1\npassword: hunter2\n"), s.file("two.yml", "a: 2\nb: {c: 3}\npassword: hunter3\n")
	s.expect("version 1 is in force for all instances", "publish", one, "-message", "first")
	s.expect("version 2 is in force for all instances", "publish", "-parent", "1", two)
	s.refuse(config.ErrConflict, "version 2 was published meanwhile\n  `configctl history`", "publish", "-parent", "1", two)
	s.expect("~ a: 1 → 2\n+ b.c: 3\n~ password: [redacted] → [redacted]\n", "diff")
	s.expect("- b.c: 3\n", "diff", "2", "1")
	s.expect("versions 2 and 2 say the same", "diff", "2")
	s.expect("b: {c: 3}", "get")
	s.expect("a: 1\npassword: hunter2\n", "get", "1")
	s.expect("version 3, which says what version 1 did, is in force", "rollback", "v1", "-message", "no good")
	out, err := s.call("{\"a\": 4}", "publish", "-", "-format", "json")
	if err != nil || !strings.Contains(out, "version 4") {
		t.Errorf("%v: %s", err, out)
	}
	s.expect("version 5 is the candidate, for 20 % of the instances", "publish", "-percent", "20", two)
	s.refuse(config.ErrConflict, "promote or abort it first", "publish", two)
	s.expect("candidate: version 5, for 20 % of the instances", "status")
	s.expect("for 40 % of the instances", "advance", "40%")
	s.refuse(config.ErrInvalid, "give more, or abort the rollout", "advance", "30")
	s.expect("what was in force before is again", "abort")
	s.refuse(config.ErrNotFound, "no rollout: start one with Stage", "promote")
	s.expect("version 6 is the candidate", "publish", "-percent", "20", two)
	s.expect("in force for all", "promote", "-message", "well")
	for _, want := range []string{"6        ", "in force", "as version 1", "first", "no good"} {
		s.expect(want, "history")
	}
	s.expect("-n shows more", "history", "-n", "2")
}

// TestMistakes checks the errors of mistakes on the command line.
func TestMistakes(t *testing.T) {
	dir := t.TempDir()
	s := shell{t, "bolt://" + filepath.Join(dir, "config.db"), dir}
	bad := s.file("bad.yaml", "a: 1\nb: c: d\n")
	schema := s.file("schema.json", `{"properties": {"a": {"type": "integer"}}}`)
	typo := s.file("typo.yaml", "b: 1\na: x\n")
	s.refuse(config.ErrSyntax, "bad.yaml:2: ", "publish", bad)
	s.refuse(config.ErrInvalid, "typo.yaml:2: a: invalid: is string, and must be integer", "-schema", schema, "publish", typo)
	s.refuse(config.ErrInvalid, "none of yaml, json, toml", "publish", s.file("x.ini", "a=1"))
	s.refuse(os.ErrNotExist, "no such file", "publish", bad+".no")
	s.refuse(config.ErrNotFound, "version 7", "get", "7")
	s.refuse(errUsage, `there is no command "publsh"; did you mean publish?`, "publsh")
	s.refuse(errUsage, `"x" is no version`, "get", "x")
	s.refuse(errUsage, "publish takes one file", "publish")
	s.refuse(errUsage, "rollback takes the version", "rollback")
	s.refuse(errUsage, `unexpected argument "now"`, "promote", "now")
	s.refuse(errUsage, "is not PERCENT:DURATION", "guide", "-stages", "5")
	s.refuse(errUsage, "see -h", "history", "-no-such-flag")
	s.refuse(flag.ErrHelp, "", "publish", "-h")
	s.refuse(errUsage, `the format "ini" is none of yaml, json, toml: name it with -format`, "publish", s.file("x.ini", "a=1"))
	for want, args := range map[string][]string{
		"-store is missing":   {"history"},
		"-layer is missing":   {"-store", s.store, "history"},
		"no command":          {"-store", s.store},
		"must be etcd://":     {"-store", "memory", "-layer", layer, "history"},
		"is it running there": {"-store", "etcd://127.0.0.1:1", "-layer", layer, "-timeout", "300ms", "history"},
	} {
		var out bytes.Buffer
		if err := run(t.Context(), args, nil, &out, &out); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v", args, err)
		}
	}
}

// TestHelp checks the output of -h: it has no escapes, and states which stores can be shared.
func TestHelp(t *testing.T) {
	for _, args := range [][]string{{"-h"}, {"publish", "-h"}, {"guide", "-h"}} {
		var out bytes.Buffer
		err := run(t.Context(), args, nil, &out, &out)
		if !errors.Is(err, flag.ErrHelp) || strings.ContainsAny(out.String(), "\\\t") || !strings.Contains(out.String(), "\n  -") {
			t.Errorf("%v: %v\n%s", args, err, out.String())
		}
		if shared := "bolt:///path/of/a/file while no other process has it open"; args[0] == "-h" && !strings.Contains(out.String(), shared) {
			t.Errorf("lacks %q:\n%s", shared, out.String())
		}
	}
}

// TestLockedFile runs a command while another process holds the file of the store, as a service would.
func TestLockedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.db")
	held, err := boltkv.Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = held.Close() }()
	s := shell{t, "bolt://" + path, t.TempDir()}
	const want = "one process at a time can open it: timeout; stop the other process, or use an engine that has a server, such as etcd"
	if out, err := s.call("", "publish", s.file("a.yaml", "a: 1\n")); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v: %s", err, out)
	}
}

// TestRedis publishes to a Redis server.
func TestRedis(t *testing.T) {
	s := shell{t, "redis://" + testenv.Redis(t).Addr(0), t.TempDir()}
	s.expect("version 1 is in force", "publish", s.file("a.yaml", "a: 1\n"))
	s.expect("version 2 is in force", "publish", s.file("a.yaml", "a: 2\n"))
	s.expect("~ a: 1 → 2", "diff")
	s.expect("in force", "history")
	s.refuse(errors.ErrUnsupported, "repeat status", "watch")
}

// transcript collects the output of a running command.
type transcript struct {
	mu   sync.Mutex
	text strings.Builder
}

func (w *transcript) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(p)
}

// await waits until the texts have been printed in this order.
func (w *transcript) await(t *testing.T, texts ...string) {
	t.Helper()
	testenv.Eventually(t, 20*time.Second, fmt.Sprint(texts), func() error {
		w.mu.Lock()
		defer w.mu.Unlock()
		rest := w.text.String()
		for _, text := range texts {
			_, after, found := strings.Cut(rest, text)
			if !found {
				return errors.New(w.text.String())
			}
			rest = after
		}
		return nil
	})
}

// TestEtcd runs watch and guide on a real engine, with an instance that reports. One rollout is promoted, and one is aborted.
func TestEtcd(t *testing.T) {
	engine := testenv.Etcd(t)
	s := shell{t, "etcd://" + engine.Endpoint(), t.TempDir()}
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	var seen transcript
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, []string{"-store", s.store, "-layer", layer, "watch"}, nil, &seen, &seen) }()

	s.expect("version 1", "publish", s.file("a.yaml", "a: 1\n"))
	seen.await(t, "version 1 is in force", "+ a: 1")
	instance(t, engine.Endpoint())
	testenv.Eventually(t, 20*time.Second, "the instance reports", func() error {
		if out, err := s.call("", "status"); err != nil || !strings.Contains(out, "shop-1  version 1") {
			return fmt.Errorf("%v: %s", err, out)
		}
		return nil
	})

	var ill atomic.Bool
	health := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		failed := 1
		if ill.Load() {
			failed = 100
		}
		_, _ = fmt.Fprintf(w, `{"canary": {"total": 200, "failed": %d}, "stable": {"total": 2000, "failed": 10}}`, failed)
	}))
	defer health.Close()
	s.expect("version 2 is the candidate", "publish", "-percent", "10", s.file("a.yaml", "a: 2\n"))
	guided := []string{"guide", "-every", "20ms", "-stages", "10:50ms,60:50ms", "-health", health.URL}
	s.expect("the candidate is in force for all instances", guided...)
	seen.await(t, "candidate 2 for 10 %", "~ a: 1 → 2", "candidate 2 for 60 %", "version 2 is in force")

	ill.Store(true)
	s.expect("version 3 is the candidate", "publish", "-percent", "99", s.file("a.yaml", "a: 3\n"))
	s.refuse(versions.ErrAborted, "100 of 200 requests of the canaries failed", guided...)
	seen.await(t, "candidate 3 for 99 %", "the rollout of version 3 was aborted")

	interrupt()
	if err := <-ended; err != nil {
		t.Errorf("watch ended with %v", err)
	}
}

// instance follows the layer as a service does, until the test ends.
func instance(t *testing.T, endpoint string) {
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	store := kv.New(etcdkv.New(client, nil), &kv.Options{Telemetry: telemetry.Off()})
	cfg, err := config.Load[struct{ A int }](t.Context(), &config.Options{Telemetry: telemetry.Off(), Sources: []config.Source{
		versions.Published(store, &versions.PublishedOptions{Layers: []string{layer}, Instance: "shop-1"}),
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- cfg.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-done, store.Close(), client.Close()); err != nil {
			t.Error(err)
		}
	})
}

// TestControlCharacters publishes authors, messages, keys and values with control characters. No command prints them to a terminal. Only
// get into a file writes the document unchanged.
func TestControlCharacters(t *testing.T) {
	const evil = "\x1b]0;owned\a\x1b[2J\u202e\u200b\u009b\r"
	dir := t.TempDir()
	where := "bolt://" + filepath.Join(dir, "config.db")
	s := shell{t, where, dir}
	document := `{"a` + `\u001b[2J` + `": "` + `\u001b]0;owned\u0007\u202e\u009b\r\nb` + `"}`
	s.expect("version 1", "-author", "ada"+evil, "publish", s.file("a.json", document), "-message", evil+"\n9  forged")
	s.expect("version 2", "publish", s.file("b.json", `{"a": 1}`))
	s.expect("version 3", "publish", "-percent", "50", s.file("a.json", document), "-message", evil)
	s.expect("60 %", "advance", "60", "-message", evil)
	onBolt(t, where, func(store *kv.Store) {
		for i, version := range []int{3, 2} {
			report, err := json.Marshal(versions.Instance{Name: fmt.Sprint("i", i, evil), Version: version, Rejected: 3 * i, Reason: evil})
			if err == nil {
				_, err = store.Namespace(layer).Put(t.Context(), fmt.Sprint("instances/i", i), report)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	})
	for _, args := range [][]string{
		{"history"}, {"status"}, {"diff"}, {"diff", "1", "2"}, {"get", evil}, {"publish", s.file("x.json", `{"`+`\u001b[2J`+`": `)}, {"no" + evil}, {"abort", "-no" + evil},
		{"guide", "-every", "10ms"}, {"abort", "-message", evil},
	} {
		out, err := s.call("", args...)
		if err != nil {
			var shown strings.Builder
			_, _ = fmt.Fprintln(printable{&shown}, err)
			out += shown.String()
		}
		if i := strings.IndexFunc(out, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }); i >= 0 || !utf8.ValidString(out) {
			t.Errorf("%q shows %q", args, out)
		}
		if strings.Contains(out, "\n9  forged") {
			t.Errorf("%q has a forged line: %s", args, out)
		}
	}
	s.expect(document, "get", "1")
}

// onBolt calls do with the store while no command has it open.
func onBolt(t *testing.T, where string, do func(*kv.Store)) {
	t.Helper()
	store, closeStore, err := options{store: where, timeout: time.Minute, creates: true}.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	do(store)
	if err := closeStore(); err != nil {
		t.Fatal(err)
	}
}

// TestHistoryOfARace publishes eight versions concurrently. The history distinguishes the versions that came into force from those that
// lost.
func TestHistoryOfARace(t *testing.T) {
	dir := t.TempDir()
	where := "bolt://" + filepath.Join(dir, "config.db")
	s := shell{t, where, dir}
	one := s.file("one.yaml", "a: 1\n")
	s.expect("version 1", "publish", one)
	var won, written atomic.Int64
	onBolt(t, where, func(store *kv.Store) {
		published, err := versions.New(store, layer, &versions.Options{Telemetry: quiet})
		if err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				_, err := published.Publish(t.Context(), versions.Draft{Document: fmt.Sprintf("a: %d\n", i), Format: config.YAML, Author: "ada"})
				if err == nil {
					won.Add(1)
				} else if !errors.Is(err, config.ErrConflict) {
					t.Error(err)
				}
			})
		}
		all.Wait()
		for _, err := range published.History(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			written.Add(1)
		}
	})
	s.expect("candidate", "publish", "-percent", "10", one)
	s.expect("over", "abort")
	s.expect("candidate", "publish", "-percent", "10", one)
	s.expect("in force", "promote")
	out, err := s.call("", "history")
	if err != nil {
		t.Fatal(err)
	}
	lost := int(written.Load() - 1 - won.Load())
	if lost == 0 {
		t.Fatal("nobody lost the race")
	}
	for state, want := range map[string]int{"never in force": lost, "in force": lost + 1, "candidate, aborted": 1} {
		if n := strings.Count(out, state); n != want {
			t.Errorf("%q is there %d times, want %d:\n%s", state, n, want, out)
		}
	}
}

// TestEmptyLayer: every command but publish reports an empty layer. No command that reads creates a file.
func TestEmptyLayer(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "config.db")
	s := shell{t, "bolt://" + path, dir}
	reading := [][]string{
		{"get"}, {"get", "3"}, {"history"}, {"diff"}, {"diff", "1", "2"}, {"rollback", "1"}, {"status"}, {"advance", "50"}, {"promote"}, {"abort"}, {"guide"},
	}
	for _, c := range commands {
		if c.name != "publish" && c.name != "watch" && !slices.ContainsFunc(reading, func(args []string) bool { return args[0] == c.name }) {
			t.Errorf("%s is not tried", c.name)
		}
	}
	for _, args := range append(reading, []string{"watch"}) {
		s.refuse(config.ErrNotFound, "nothing was published in layer "+layer+": not found: -store bolt://"+path+": no such file: check the path; `configctl publish FILE` creates it", args...)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a command that reads has created the file: %v", err)
	}
	out, err := s.call("", "-layer", "prod/other", "publish", s.file("a.yaml", "a: 1\n"))
	if err != nil {
		t.Fatal(out, err)
	}
	for _, args := range reading {
		s.refuse(config.ErrNotFound, "nothing was published in layer "+layer+": is its name right? `configctl publish FILE` begins one", args...)
	}
	s.refuse(config.ErrConflict, "nothing was published yet, so the draft has no parent", "publish", "-parent", "3", s.file("a.yaml", "a: 1\n"))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	seen, ended := &transcript{}, make(chan error, 1)
	go func() { ended <- run(ctx, []string{"-store", s.store, "-layer", layer, "watch"}, nil, seen, seen) }()
	seen.await(t, "nothing was published in layer "+layer)
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
