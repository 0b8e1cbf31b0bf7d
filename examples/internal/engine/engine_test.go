package engine

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/sync"
)

const password = "s3cr:t/p@ss%"

func all() []string { return []string{"memory", "bolt", "etcd", "consul", "redis"} }

// withUser returns a URL with credentials.
func withUser(scheme, name, password, host string) string {
	u := url.URL{Scheme: scheme, Host: host, User: url.UserPassword(name, password)}
	return u.String()
}

func try(t *testing.T, where string) (*Engine, error) {
	t.Helper()
	return Open(t.Context(), where, Options{Flag: "-kv", Schemes: all(), Within: 2 * time.Second})
}

// works writes and reads an item through the engine of a URL.
func works(t *testing.T, where string) {
	t.Helper()
	e, err := try(t, where)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if _, err := e.Put(t.Context(), "k", []byte("x")); err != nil {
		t.Error(err)
	}
	if it, err := e.Get(t.Context(), "k"); err != nil || string(it.Value) != "x" {
		t.Errorf("Get = %q, %v", it.Value, err)
	}
}

func TestMemoryAndFile(t *testing.T) {
	works(t, "memory")
	path := filepath.Join(t.TempDir(), "kv.db")
	o := Options{Flag: "-store", Schemes: []string{"bolt"}, Existing: true}
	if _, err := Open(t.Context(), "bolt://"+path, o); !errors.Is(err, ErrNoFile) || !strings.Contains(err.Error(), path) {
		t.Errorf("a file that must exist: %v", err)
	}
	works(t, "bolt://"+path)
	e, err := Open(t.Context(), "bolt://"+path, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}

// TestNATS writes through two URLs of one bucket, the first of which creates it, and through that of another bucket.
func TestNATS(t *testing.T) {
	where := testenv.NATS(t).URL()
	open := func(where string) (*Engine, error) {
		return Open(t.Context(), where, Options{Flag: "-kv", Schemes: []string{"nats"}, Within: 5 * time.Second})
	}
	for n, url := range []string{where, where + "/go-os", where + "/other"} {
		e, err := open(url)
		if err != nil {
			t.Fatal(err)
		}
		_, err = e.Put(t.Context(), "k", []byte("x"), kv.IfAbsent())
		if conflict := errors.Is(err, kv.ErrConflict); conflict != (n == 1) {
			t.Errorf("%s: Put = %v", url, err)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
	for url, says := range map[string]string{
		"nats://127.0.0.1:1":          "-kv nats://127.0.0.1:1 does not answer: is it running there?",
		where + "/a.b":                "bucket",
		where + "?ca=/no/file":        `unknown parameter "ca"`,
		"natss" + where[len("nats"):]: "its scheme is natss",
	} {
		if _, err := open(url); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want …%s…", url, err, says)
		}
	}
}

// TestRedisCredentials uses a server that requires a password.
func TestRedisCredentials(t *testing.T) {
	addr := testenv.Redis(t).Addr(0)
	works(t, "redis://"+addr+"/2")
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{addr}})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	set := client.B().AclSetuser().Username("shop").Rule("on", ">"+password, "~*", "+@all").Build()
	if err := client.Do(t.Context(), set).Error(); err != nil {
		t.Fatal(err)
	}
	if err := client.Do(t.Context(), client.B().ConfigSet().ParameterValue().ParameterValue("requirepass", "another").Build()).Error(); err != nil {
		t.Fatal(err)
	}
	works(t, withUser("redis", "shop", password, addr))
	refused(t, withUser("redis", "shop", "wr0ng-one", addr), "wr0ng-one")
	refused(t, "redis://"+addr, "never")
}

// TestEtcdCredentials uses a server that requires a user.
func TestEtcdCredentials(t *testing.T) {
	endpoint := testenv.Etcd(t).Endpoint()
	works(t, "etcd://"+endpoint)
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := client.UserAdd(t.Context(), "root", password); err != nil {
		t.Fatal(err)
	}
	if _, err := client.UserGrantRole(t.Context(), "root", "root"); err != nil {
		t.Fatal(err)
	}
	if _, err := client.AuthEnable(t.Context()); err != nil {
		t.Fatal(err)
	}
	works(t, withUser("etcd", "root", password, endpoint))
	refused(t, withUser("etcd", "root", "wr0ng-one", endpoint), "wr0ng-one")
	refused(t, "etcd://"+endpoint, "never")
}

// TestConsulToken checks the token in the request, since the agent of the tests requires none.
func TestConsulToken(t *testing.T) {
	sent := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case sent <- r.Header.Get("X-Consul-Token"):
		default:
		}
		w.WriteHeader(http.StatusForbidden)
	}))
	defer server.Close()
	refused(t, withUser("consul", "", password, strings.TrimPrefix(server.URL, "http://")), password)
	if got := <-sent; got != password {
		t.Errorf("the token %q was sent", got)
	}
}

// refused fails if the URL opens an engine, or if the error shows the secret or does not name the engine.
func refused(t *testing.T, where, secret string) {
	t.Helper()
	e, err := try(t, where)
	if err == nil {
		t.Errorf("it opens: %v", e.Close())
		return
	}
	if strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), url.PathEscape(secret)) {
		t.Errorf("the error shows the secret: %v", err)
	}
	if !strings.Contains(err.Error(), "-kv") {
		t.Errorf("the error does not name the flag: %v", err)
	}
}

// TestNoSecretInErrors opens URLs with passwords in every form that users may write.
func TestNoSecretInErrors(t *testing.T) {
	t.Parallel()
	const secret = "hunter2"
	for _, where := range []string{
		"redis://:hunter2@127.0.0.1:1",
		"redis://user:hunter2@127.0.0.1:1/0",
		"rediss://user:hunter2@127.0.0.1:1",
		"redis://user:hunter2@127.0.0.1:1/hunter2?x=hunter2",
		"redis://127.0.0.1:1?password=hunter2",
		"etcd://root:hunter2@127.0.0.1:1",
		"etcds://root:hunter2@127.0.0.1:1,127.0.0.1:2",
		"consul://:hunter2@127.0.0.1:1",
		"consul://hunter2@127.0.0.1:1",
		"postgres://user:hunter2@127.0.0.1:1/db",
		"mysql://user:hunter2@127.0.0.1:3306/db",
		"mysql:user:hunter2@tcp(127.0.0.1:3306)/db",
		"user:hunter2@tcp(127.0.0.1:3306)/db",
		"root:hunter2@127.0.0.1:2379",
		"redis://user:hunter2@127.0.0.1:notaport",
		"redis://user:hunter2%@127.0.0.1:1",
		"redis://user:hunter2#x@127.0.0.1:1",
		"redis://user:pass/hunter2@127.0.0.1:1",
		"bolt://hunter2",
	} {
		refused(t, where, secret)
		if _, _, err := Locks(context.Background(), where, "-sync"); !strings.HasPrefix(where, "postgres") && !strings.HasPrefix(where, "etcd") {
			if !errors.Is(err, ErrURL) || strings.Contains(err.Error(), secret) {
				t.Errorf("Locks of %s: %v", where, err)
			}
		}
	}
}

// TestNothingIgnored: a part of a URL without a meaning is an error.
func TestNothingIgnored(t *testing.T) {
	t.Parallel()
	for where, says := range map[string]string{
		"oracle://127.0.0.1":                          "its scheme is oracle: must be memory, bolt:///path/of/a/file, etcd://host:port, consul://host:port or redis://host:port",
		"etcd://127.0.0.1:1/prefix":                   "nothing at the path /prefix",
		"etcd://127.0.0.1:1?ca=x":                     "ca, cert and key are for etcds",
		"etcds://127.0.0.1:1?ca=/no/file":             "/no/file",
		"redis://127.0.0.1:1/x":                       "number of a database",
		"redis://127.0.0.1:1?timeout=1s":              `unknown parameter "timeout"`,
		"consul://me@127.0.0.1:1":                     "Consul knows no users",
		"bolt:///f?mode=1":                            `unknown parameter "mode": use namespace`,
		"etcd://127.0.0.1:1?namespace=":               "namespace must be a name such as prod/shop",
		"etcd://127.0.0.1:1?namespace=prod/shop/":     `must not begin or end with a slash: use "prod/shop"`,
		"bolt:///f?namespace=/prod":                   `must not begin or end with a slash: use "prod"`,
		"bolt:///f?namespace=%ff":                     "namespace must be a name such as prod/shop",
		"redis://127.0.0.1:1?namespace=a&namespace=b": `duplicate parameter "namespace"`,
		"redis://127.0.0.1:1?namespace=%zz":           "its parameters are malformed",
		"etcd://127.0.0.1:1":                          "-kv etcd://127.0.0.1:1 does not answer: is it running there?",
		"redis://127.0.0.1:1":                         "-kv redis://127.0.0.1:1 does not answer: is it running there?",
	} {
		_, err := try(t, where)
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want …%s…", where, err, says)
		}
		if says := errors.Is(err, ErrURL); says == (errors.Is(err, kv.ErrUnavailable) || strings.Contains(err.Error(), "answer") || strings.Contains(err.Error(), "/no/file")) {
			t.Errorf("%s: %v, ErrURL %t", where, err, says)
		}
	}
}

// TestNamespace opens one engine with and without a namespace.
func TestNamespace(t *testing.T) {
	for _, where := range []string{
		"bolt://" + filepath.Join(t.TempDir(), "kv.db"), "etcd://" + testenv.Etcd(t).Endpoint(),
		"consul://" + testenv.Consul(t).Addr(0), "redis://" + testenv.Redis(t).Addr(0) + "/1",
	} {
		part, err := try(t, where+"?namespace=prod/shop")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := part.Put(t.Context(), "k", []byte("x")); err != nil {
			t.Error(err)
		}
		if err := part.Close(); err != nil {
			t.Error(err)
		}
		all, err := try(t, where)
		if err != nil {
			t.Fatalf("%s after its part was closed: %v", where, err)
		}
		if it, err := all.Get(t.Context(), "prod/shop/k"); err != nil || string(it.Value) != "x" {
			t.Errorf("%s: Get = %q, %v", where, it.Value, err)
		}
		if err := all.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestNamespaceOfLocks: two sessions share a lock only in the same namespace.
func TestNamespaceOfLocks(t *testing.T) {
	where := "etcd://" + testenv.Etcd(t).Endpoint()
	first := locks(t, where+"?namespace=prod")
	if _, err := first.Mutex("m").TryLock(t.Context()); err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string]error{"?namespace=prod": sync.ErrHeld, "?namespace=test": nil, "": nil} {
		if _, err := locks(t, where+query).Mutex("m").TryLock(t.Context()); !errors.Is(err, want) {
			t.Errorf("TryLock at %q = %v, want %v", query, err, want)
		}
	}
}

// locks returns a session on the driver of a URL.
func locks(t *testing.T, where string) *sync.Session {
	t.Helper()
	d, client, err := Locks(t.Context(), where, "-sync")
	if err != nil {
		t.Fatal(err)
	}
	session := sync.New(d, nil)
	t.Cleanup(func() {
		if err := errors.Join(session.Close(), client()); err != nil {
			t.Error(err)
		}
	})
	return session
}
