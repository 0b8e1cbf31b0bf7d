package rediskv_test

import (
	"errors"
	"testing"

	"github.com/redis/rueidis"

	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/rediskv"
)

// TestRights distinguishes a missing permission from a server that does not answer.
func TestRights(t *testing.T) {
	t.Parallel()
	addr := testenv.Redis(t).Addr(0)
	admin := connect(t, nil, addr)
	t.Cleanup(func() { _ = admin.Close() })
	acl := admin.client.B().Arbitrary("ACL", "SETUSER", "reader", "on", ">secret", "~*", "+@read", "+@connection", "+info").Build()
	if err := admin.client.Do(t.Context(), acl).Error(); err != nil {
		t.Fatal(err)
	}
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{addr}, Username: "reader", Password: "secret", DisableCache: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	s := kv.New(rediskv.New(client, nil), nil)
	if _, err := s.Get(t.Context(), "k"); !errors.Is(err, kv.ErrNotFound) {
		t.Errorf("Get with the right to read: %v, want ErrNotFound", err)
	}
	_, wrote := s.Put(t.Context(), "k", []byte("v"))
	for what, err := range map[string]error{"Put": wrote, "Delete": s.Delete(t.Context(), "k")} {
		if !errors.Is(err, kv.ErrDenied) || errors.Is(err, kv.ErrUnavailable) {
			t.Errorf("%s without the right to write: %v, want ErrDenied", what, err)
		}
	}
}
