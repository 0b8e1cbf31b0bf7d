package storefront

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/go-os/go-os/control/config"
	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/control/router"
	"github.com/go-os/go-os/control/router/statistics"
	"github.com/go-os/go-os/middleware/osgrpc"
	"github.com/go-os/go-os/middleware/oshttp"
)

// found returns a resolver for fixed instances.
func found(t *testing.T, instances ...discovery.Instance) *discovery.Resolver {
	t.Helper()
	registry, err := discovery.Static(instances...)
	if err != nil {
		t.Fatal(err)
	}
	resolver, err := discovery.NewResolver(registry, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resolver.Close() })
	return resolver
}

// at returns an instance of a service.
func at(service, id, protocol, address string) discovery.Instance {
	return discovery.Instance{Service: service, ID: id, Addresses: map[string]string{protocol: address}}
}

// refused returns an address at which nothing listens.
func refused(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// defaults returns a Router without a policy, as in the short program.
func defaults(t *testing.T, resolver *discovery.Resolver) *router.Router {
	t.Helper()
	r, err := router.New(resolver, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// TestHTTP calls payments, one of whose two instances is dead.
func TestHTTP(t *testing.T) {
	server := httptest.NewServer(newPayments(oshttp.NewLoad()))
	defer server.Close()
	resolver := found(t, at("payments", "living", "http", server.Listener.Addr().String()), at("payments", "dead", "http", refused(t)))
	r := defaults(t, resolver)
	client, err := newClient(resolver, r)
	if err != nil {
		t.Fatal(err)
	}
	for range 50 {
		res, err := client.Post("http://payments/pay", "text/plain", strings.NewReader("7"))
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if string(body) != "paid 7" {
			t.Fatalf("%s: %s", res.Status, body)
		}
	}
	page := httptest.NewRecorder()
	newDebugHandler(r).ServeHTTP(page, httptest.NewRequest(http.MethodGet, "/debug/routes", nil))
	var routes []router.Status
	if err := json.Unmarshal(page.Body.Bytes(), &routes); err != nil || len(routes) != 1 || len(routes[0].Endpoints) != 2 {
		t.Errorf("the page has %s (%v), want two endpoints", page.Body, err)
	}
	page = httptest.NewRecorder()
	newDebugHandler(r).ServeHTTP(page, httptest.NewRequest(http.MethodGet, "/debug/endpoints", nil))
	if !strings.Contains(page.Body.String(), "payments living: available") {
		t.Errorf("the page is %s", page.Body)
	}
}

// startPrices starts a server of prices, and returns its address. served counts its calls.
func startPrices(t *testing.T, served *atomic.Int32) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := newPrices(osgrpc.NewLoad())
	healthpb.RegisterHealthServer(server, &prices{served: served})
	go server.Serve(listener)
	t.Cleanup(server.Stop)
	return listener.Addr().String()
}

// prices counts its calls.
type prices struct {
	healthpb.UnimplementedHealthServer
	served *atomic.Int32
}

func (p *prices) Check(context.Context, *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	p.served.Add(1)
	return &healthpb.HealthCheckResponse{}, nil
}

// TestGRPC calls prices, one of whose two instances is dead.
func TestGRPC(t *testing.T) {
	var served atomic.Int32
	resolver := found(t, at("prices", "living", "grpc", startPrices(t, &served)), at("prices", "dead", "grpc", refused(t)))
	conn, err := newConn(resolver, defaults(t, resolver))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for range 50 {
		call(t, conn)
	}
	if n := served.Load(); n != 50 {
		t.Errorf("%d calls were served, want 50", n)
	}
}

// TestKeys sends the calls for one customer to one instance.
func TestKeys(t *testing.T) {
	var served [3]atomic.Int32
	var instances []discovery.Instance
	for i := range served {
		instances = append(instances, at("prices", fmt.Sprint("prices-", i), "grpc", startPrices(t, &served[i])))
	}
	resolver := found(t, instances...)
	r := defaults(t, resolver)
	if err := r.SetPolicies(map[string]router.Policy{"*": {Balance: router.Balance{Algorithm: router.ConsistentHash}}}); err != nil {
		t.Fatal(err)
	}
	conn, err := newKeyedConn(resolver, r, func(context.Context) string { return "acme" })
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for end := time.Now().Add(10 * time.Second); ; { // at first not all instances are connected
		for i := range served {
			served[i].Store(0)
		}
		for range 30 {
			call(t, conn)
		}
		if most := max(served[0].Load(), served[1].Load(), served[2].Load()); most == 30 {
			return
		} else if time.Now().After(end) {
			t.Fatalf("an instance got %d of 30 calls, want all", most)
		}
	}
}

func call(t *testing.T, conn *grpc.ClientConn) {
	t.Helper()
	if _, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{}, grpc.WaitForReady(true)); err != nil {
		t.Fatal(err)
	}
}

// TestPolicyFile follows the file: a good change takes effect, and a bad one does not.
func TestPolicyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "routes.yaml")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("routes: {payments: {retry: {attempts: 2}}}")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	r, err := newRouter(ctx, found(t, at("payments", "one", "http", "10.0.0.1:80")), path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	attempts := func() int { return r.Policy("payments").Retry.Attempts }
	if got := attempts(); got != 2 {
		t.Errorf("%d attempts, want 2", got)
	}
	write("routes: {payments: {retry: {attempts: 9}}}")
	write("routes: {payments: {retry: {attempts: 1}}}")
	for end := time.Now().Add(10 * time.Second); attempts() != 1; time.Sleep(5 * time.Millisecond) {
		if got := attempts(); got == 9 || time.Now().After(end) {
			t.Fatalf("%d attempts, want 1", got)
		}
	}

	write("routes: {payments: {retry: {attempts: 9}}}")
	if _, err := newRouter(ctx, found(t), path); !errors.Is(err, config.ErrInvalid) || !strings.Contains(err.Error(), "retry.attempts: 9: use 1 to 3") {
		t.Errorf("%v, want the mistake", err)
	}
}

// TestEveryField checks that the document of the guide is valid, and that it has every field of a policy.
func TestEveryField(t *testing.T) {
	text, err := os.ReadFile("routes.yaml")
	if err != nil {
		t.Fatal(err)
	}
	guide, err := os.ReadFile("../../../docs/guides/router.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(guide), "```yaml\n"+string(text)+"```") {
		t.Error("docs/guides/router.md does not have the document of routes.yaml")
	}
	cfg, err := config.Load[Config](t.Context(), &config.Options{Sources: []config.Source{config.File("routes.yaml", nil)}})
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Get().Routes["payments"].Fallback != "payments-eu" {
		t.Errorf("the document has %+v", cfg.Get())
	}
	for _, field := range fields(reflect.TypeFor[router.Policy]()) {
		if !strings.Contains(string(text), field+":") {
			t.Errorf("the document has no %s", field)
		}
	}
}

// fields returns the keys of the fields of a struct, and of the structs in it.
func fields(of reflect.Type) (keys []string) {
	switch of.Kind() {
	case reflect.Slice:
		return fields(of.Elem())
	case reflect.Struct:
		for i := range of.NumField() {
			f := of.Field(i)
			keys = append(keys, snake(f.Name))
			keys = append(keys, fields(f.Type)...)
		}
	}
	return keys
}

// snake returns a name in snake case.
func snake(name string) string {
	var key strings.Builder
	for i, r := range name {
		if r >= 'A' && r <= 'Z' && i > 0 {
			key.WriteByte('_')
		}
		key.WriteRune(r)
	}
	return strings.ToLower(key.String())
}

// TestLedger repeats a line whose connection was closed without an answer, at the other instance.
func TestLedger(t *testing.T) {
	var instances []discovery.Instance
	for _, answer := range []string{"12.50\n", ""} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		instances = append(instances, at("ledger", fmt.Sprint("ledger-", len(instances)), "tcp", listener.Addr().String()))
		go answerAll(listener, answer)
	}
	l := newLedger(defaults(t, found(t, instances...)))
	for range 20 {
		if balance, err := l.balance(t.Context(), "acme"); err != nil || balance != "12.50" {
			t.Fatalf("%q, %v, want 12.50", balance, err)
		}
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.balance(cancelled, "acme"); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want the end of the context", err)
	}
}

// answerAll gives every line the same answer.
func answerAll(listener net.Listener, answer string) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		bufio.NewReader(conn).ReadString('\n')
		io.WriteString(conn, answer)
		conn.Close()
	}
}

// TestProtected serves a request whose caller has a label that is allowed, and one that is not.
func TestProtected(t *testing.T) {
	var labels map[string]string
	handler, err := newProtected(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		labels = router.LabelsFrom(r.Context())
	}), oshttp.NewLoad())
	if err != nil {
		t.Fatal(err)
	}
	request := httptest.NewRequest(http.MethodGet, "/", nil)
	request.Header = http.Header{"X-Micro-Label-Tenant": {"acme"}, "X-Micro-Label-Admin": {"yes"}}
	answer := httptest.NewRecorder()
	handler.ServeHTTP(answer, request)
	if fmt.Sprint(labels) != "map[tenant:acme]" || answer.Header().Get("X-Prequal-Rif") == "" {
		t.Errorf("the handler got the labels %v, and answered with the headers %v", labels, answer.Header())
	}
}

// published collects reports.
type published []statistics.Report

func (p *published) Publish(_ context.Context, r statistics.Report) error {
	*p = append(*p, r)
	return nil
}

// TestStatistics counts each request once.
func TestStatistics(t *testing.T) {
	server := httptest.NewServer(newPayments(oshttp.NewLoad()))
	defer server.Close()
	resolver := found(t, at("payments", "one", "http", server.Listener.Addr().String()))
	var reports published
	r, shutdown, err := newCountedRouter(resolver, &reports)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	client, err := newClient(resolver, r)
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		res, err := client.Post("http://payments/pay", "text/plain", strings.NewReader("7"))
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, res.Body)
		res.Body.Close()
	}
	if err := shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	total := uint64(0)
	for _, report := range reports {
		for _, e := range report.Endpoints {
			for _, m := range e.Methods {
				total += uint64(m.Success)
			}
		}
	}
	if total != 5 {
		t.Errorf("%d requests were counted, want 5: %+v", total, reports)
	}
}
