// Package tenlines compiles and runs the programs of docs/guides/ten-lines.md.
package tenlines

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/go-os/go-os/control/config"
	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/memkv"
	"github.com/go-os/go-os/state/kv/near"
	"github.com/go-os/go-os/state/kv/rediskv"
	"github.com/go-os/go-os/state/sync"
	"github.com/go-os/go-os/state/sync/etcdsync"
)

func nightly(ctx context.Context, endpoint string, report func(context.Context, sync.Token) error) error {
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}})
	if err != nil {
		return err
	}
	defer client.Close()
	session := sync.New(etcdsync.New(client, nil), nil)
	defer session.Close()
	return session.Mutex("nightly-report").Do(ctx, func(ctx context.Context, g *sync.Grant) error {
		return report(ctx, g.Token())
	})
}

// TestLock checks that two sessions on one engine report one after the other, and that the later one has the larger token.
func TestLock(t *testing.T) {
	endpoint := testenv.Etcd(t).Endpoint()
	var tokens []sync.Token
	for range 2 {
		err := nightly(t.Context(), endpoint, func(ctx context.Context, token sync.Token) error {
			tokens = append(tokens, token)
			held := func(context.Context, sync.Token) error { return nil }
			soon, cancel := context.WithTimeout(context.WithoutCancel(ctx), 300*time.Millisecond)
			defer cancel()
			if err := nightly(soon, endpoint, held); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("the lock was acquired twice: %v", err)
			}
			return ctx.Err()
		})
		if err != nil {
			t.Error(err)
		}
	}
	if len(tokens) != 2 || tokens[0] >= tokens[1] {
		t.Errorf("tokens = %v, want two that grow", tokens)
	}
}

func openCache(address string) (*kv.Store, error) {
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{address}})
	if err != nil {
		return nil, err
	}
	return kv.New(rediskv.New(client, nil), &kv.Options{Name: "prices"}), nil
}

func price(ctx context.Context, cache *kv.Store, product string) (string, error) {
	read, cancel := context.WithTimeout(ctx, time.Second) // in case the cache does not respond
	defer cancel()
	if item, err := cache.Get(read, product); err == nil {
		return string(item.Value), nil
	}
	price, err := lookUp(ctx, product)
	if err != nil {
		return "", err
	}
	write, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_, _ = cache.Put(write, product, []byte(price), kv.TTL(time.Minute)) // best effort
	return price, nil
}

var lookUps int // calls of lookUp

func lookUp(ctx context.Context, product string) (string, error) {
	lookUps++
	return "12.50", ctx.Err()
}

// TestCache checks that the second read comes from Redis, and that a read succeeds while the cache does not respond or is closed.
func TestCache(t *testing.T) {
	redis := testenv.Redis(t)
	cache, err := openCache(redis.Addr(0))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []int{1, 1} {
		if got, err := price(t.Context(), cache, "lamp"); got != "12.50" || err != nil || lookUps != want {
			t.Errorf("price = %s, %v after %d look-ups, want %d", got, err, lookUps, want)
		}
	}
	redis.Pause()
	if got, err := price(t.Context(), cache, "lamp"); got != "12.50" || err != nil || lookUps != 2 {
		t.Errorf("while the cache is silent, price = %s, %v after %d look-ups", got, err, lookUps)
	}
	redis.Resume()
	if err := cache.Close(); err != nil {
		t.Error(err)
	}
	if got, err := price(t.Context(), cache, "lamp"); got != "12.50" || err != nil || lookUps != 3 {
		t.Errorf("with a closed cache, price = %s, %v after %d look-ups", got, err, lookUps)
	}
}

func Example_near() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	store := kv.New(memkv.New(nil), nil)
	defer store.Close()
	if _, err := store.Put(ctx, "feature/dark", []byte("on")); err != nil {
		fmt.Println(err)
	}

	cache := near.New(store, &near.Options{Prefix: "feature/"})
	go cache.Run(ctx)                           // a watch drops changed items
	item, err := cache.Get(ctx, "feature/dark") // from memory after the first read

	fmt.Println(string(item.Value), err)
	// Output: on <nil>
}

// Settings is the configuration of a service.
type Settings struct {
	Greeting string        `default:"hello"`
	Timeout  time.Duration `default:"2s" validate:"min=10ms,max=1m"`
}

func settings(ctx context.Context, file string) (*config.Config[Settings], error) {
	return config.Load[Settings](ctx, &config.Options{Sources: []config.Source{
		config.Required(config.File(file, nil)), // greeting: good morning
		config.Env("SERVICE_", os.Environ()),    // SERVICE_TIMEOUT=5s
	}})
}

func Example_configuration() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()

	cfg, err := settings(ctx, "testdata/service.yaml")
	if err != nil {
		fmt.Println(err)
		return
	}
	go cfg.Run(ctx) // follows the file
	fmt.Println(cfg.Get().Greeting, cfg.Get().Timeout)

	// Output: good morning 2s
}

// TestMistakes checks that the error lists every mistake with its file and line.
func TestMistakes(t *testing.T) {
	_, err := settings(t.Context(), "testdata/mistakes.yaml")
	if !errors.Is(err, config.ErrUnknownKey) || !errors.Is(err, config.ErrInvalid) {
		t.Errorf("error = %v, want an unknown key and an invalid value", err)
	}
	for _, place := range []string{"testdata/mistakes.yaml:1: greetings", "testdata/mistakes.yaml:2: timeout"} {
		if err == nil || !strings.Contains(err.Error(), place) {
			t.Errorf("the error does not name %s: %v", place, err)
		}
	}
}

// TestFollow checks that an edit of the file takes effect without a reload, and that a mistake changes nothing.
func TestFollow(t *testing.T) {
	file := filepath.Join(t.TempDir(), "service.yaml")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("greeting: good morning\n")
	cfg, err := settings(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	go cfg.Run(t.Context())
	changes := make(chan string, 1)
	stop, err := cfg.OnChange("greeting", func(_, now *Settings) { changes <- now.Greeting })
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	write("greeting: good evening\n")
	if got := <-changes; got != "good evening" {
		t.Errorf("greeting = %q", got)
	}
	write("greeting: good night\ntimeout: never\n")
	if err := cfg.Reload(t.Context()); !errors.Is(err, config.ErrInvalid) || cfg.Get().Greeting != "good evening" {
		t.Errorf("after a mistake: %v, greeting %q", err, cfg.Get().Greeting)
	}
}
