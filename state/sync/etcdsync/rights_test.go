package etcdsync_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/state/sync"
	"github.com/go-os/go-os/state/sync/etcdsync"
)

// TestRights takes a lock as a user without permissions, and then with them. A missing permission is not reported as ErrUnavailable.
func TestRights(t *testing.T) {
	t.Parallel()
	engine := testenv.Etcd(t)
	admin := dial(t, engine.Endpoint())
	defer func() { _ = admin.Close() }()
	may := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, user := range []string{"root", "app"} {
		_, err := admin.UserAdd(t.Context(), user, "secret")
		may(err)
		_, err = admin.RoleAdd(t.Context(), user)
		may(err)
		_, err = admin.UserGrantRole(t.Context(), user, user)
		may(err)
	}
	_, err := admin.AuthEnable(t.Context())
	may(err)

	as := func(user string) *clientv3.Client {
		client, err := clientv3.New(clientv3.Config{
			Endpoints: []string{engine.Endpoint()}, Logger: zap.NewNop(), DialTimeout: 5 * time.Second, Username: user, Password: "secret",
		})
		may(err)
		t.Cleanup(func() { _ = client.Close() })
		return client
	}
	app := as("app")
	s := sync.New(etcdsync.New(app, nil), &sync.Options{TTL: 3 * time.Second})
	defer func() { _ = s.Close() }()
	_, err = s.Mutex("m").Lock(t.Context())
	if !errors.Is(err, rpctypes.ErrPermissionDenied) || !errors.Is(err, sync.ErrDenied) || errors.Is(err, sync.ErrUnavailable) || !strings.Contains(err.Error(), etcdsync.DefaultPrefix) {
		t.Errorf("Lock without rights: %v, want ErrDenied, not ErrUnavailable, and the keys", err)
	}
	_, err = as("root").RoleGrantPermission(t.Context(), "app", etcdsync.DefaultPrefix, clientv3.GetPrefixRangeEnd(etcdsync.DefaultPrefix),
		clientv3.PermissionType(clientv3.PermReadWrite))
	may(err)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	g, err := s.Mutex("m").Lock(ctx)
	if err != nil {
		t.Fatalf("Lock with read and write: %v", err)
	}
	if err := g.Release(ctx); err != nil {
		t.Errorf("Release: %v", err)
	}
}
