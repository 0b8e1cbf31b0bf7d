package etcdkv_test

import (
	"errors"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/etcdkv"
)

// TestRights uses keys as a user without permissions. The error is not ErrUnavailable.
func TestRights(t *testing.T) {
	t.Parallel()
	engine := testenv.Etcd(t)
	as := func(user string) *clientv3.Client {
		config := clientv3.Config{Endpoints: []string{engine.Endpoint()}, Logger: zap.NewNop(), DialTimeout: 5 * time.Second}
		if user != "" {
			config.Username, config.Password = user, "secret"
		}
		client, err := clientv3.New(config)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = client.Close() })
		return client
	}
	admin := as("")
	for _, user := range []string{"root", "app"} {
		_, added := admin.UserAdd(t.Context(), user, "secret")
		_, role := admin.RoleAdd(t.Context(), user)
		_, granted := admin.UserGrantRole(t.Context(), user, user)
		if err := errors.Join(added, role, granted); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := admin.AuthEnable(t.Context()); err != nil {
		t.Fatal(err)
	}
	for user, want := range map[string]error{"app": rpctypes.ErrPermissionDenied, "": rpctypes.ErrUserEmpty} {
		s := kv.New(etcdkv.New(as(user), nil), nil)
		_, read := s.Get(t.Context(), "k")
		_, wrote := s.Put(t.Context(), "k", []byte("v"))
		for what, err := range map[string]error{"Get": read, "Put": wrote, "Delete": s.Delete(t.Context(), "k")} {
			if !errors.Is(err, want) || !errors.Is(err, kv.ErrDenied) || errors.Is(err, kv.ErrUnavailable) {
				t.Errorf("%s as user %q: %v, want ErrDenied with %v, and not ErrUnavailable", what, user, err, want)
			}
		}
	}
}
