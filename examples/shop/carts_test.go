package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-os/go-os/internal/tooling/testenv"
)

// ask sends a request and returns the status and the body of the response.
func ask(t *testing.T, method, url, body string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return strconv.Itoa(resp.StatusCode) + " " + strings.TrimSpace(string(answer))
}

// expect sends requests "METHOD /path body" and compares the responses.
func expect(t *testing.T, url string, steps ...[2]string) {
	t.Helper()
	for _, step := range steps {
		words := strings.SplitN(step[0]+"  ", " ", 3)
		if got := ask(t, words[0], url+words[1], words[2]); got != step[1] {
			t.Errorf("%s: got %q, want %q", step[0], got, step[1])
		}
	}
}

const card = `{"card":"4242424242424242"}`

func TestCarts(t *testing.T) {
	t.Parallel()
	shop := startShop(t, nil, "-rate", "0")
	front, _ := shop.url("storefront")
	expect(t, front, [][2]string{
		{"GET /carts/ann", "404 there is no such cart"},
		{`PUT /carts/ann/lamp {"quantity":2}`, `200 {"lamp":2}`},
		{`PUT /carts/ann/desk {"quantity":1}`, `200 {"desk":1,"lamp":2}`},
		{`PUT /carts/ann/desk {"quantity":0}`, `200 {"lamp":2}`},
		{`PUT /carts/bob/chair {"quantity":1}`, `200 {"chair":1}`},
		{`PUT /carts/ann/unicorn {"quantity":1}`, "404 404 page not found"},
		{`PUT /carts/ann/lamp {"quantity":-1}`, `400 the body must be {"quantity": n}, n not negative`},
		{`PUT /carts/ann/lamp two`, `400 the body must be {"quantity": n}, n not negative`},
		{"GET /carts/ann", `200 {"lamp":2}`},
		{`POST /carts/ann/order {"card":"4000000000000002"}`, "402 the bank refused the card"},
		{"GET /carts/ann", `200 {"lamp":2}`},
		{"POST /carts/ann/order " + card, `201 {"orders":["o-1"]}`},
		{"GET /carts/ann", "404 there is no such cart"},
		{"POST /carts/ann/order " + card, "404 there is no such cart"},
		{"GET /carts/bob", `200 {"chair":1}`},
	}...)
	shop.Terminate()
	shop.Wait()
}

// TestCartsSurviveTheShop: a new shop on the same file has the carts of the previous one.
func TestCartsSurviveTheShop(t *testing.T) {
	t.Parallel()
	where := "bolt://" + filepath.Join(t.TempDir(), "carts.db")
	for _, step := range [][2]string{
		{`PUT /carts/ann/lamp {"quantity":2}`, `200 {"lamp":2}`},
		{"GET /carts/ann", `200 {"lamp":2}`},
	} {
		shop := startShop(t, nil, "-rate", "0", "-kv", where)
		front, _ := shop.url("storefront")
		expect(t, front, step)
		shop.Terminate()
		shop.Wait()
	}
}

// TestCartsMove shares carts between two shops on engines that fail and recover.
func TestCartsMove(t *testing.T) {
	t.Parallel()
	t.Run("etcd", func(t *testing.T) {
		t.Parallel()
		etcd := testenv.Etcd(t)
		shareCarts(t, "etcd://"+etcd.Endpoint(), etcd.Process)
	})
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		redis := testenv.Redis(t)
		shareCarts(t, "redis://"+redis.Addr(0), redis.Process)
	})
}

func shareCarts(t *testing.T, where string, process *testenv.Process) {
	one, two := startShop(t, nil, "-rate", "0", "-kv", where), startShop(t, nil, "-rate", "0", "-kv", where)
	first, _ := one.url("storefront")
	second, _ := two.url("storefront")
	expect(t, first, [2]string{`PUT /carts/ann/lamp {"quantity":2}`, `200 {"lamp":2}`})
	expect(t, second, [2]string{`PUT /carts/ann/chair {"quantity":1}`, `200 {"chair":1,"lamp":2}`})
	process.Kill()
	if got := ask(t, http.MethodGet, first+"/carts/ann", ""); got != "503 carts are out of order, please try again" {
		t.Errorf("without its engine the shop says %q", got)
	}
	expect(t, first, [2]string{"GET /products/lamp", `200 {"id":"lamp","name":"Desk lamp","cents":4900}`})
	process.Restart()
	testenv.Eventually(t, 20*time.Second, "carts to come back", func() error {
		if got := ask(t, http.MethodGet, second+"/carts/ann", ""); got != `200 {"chair":1,"lamp":2}` {
			return errors.New(got)
		}
		return nil
	})
	for _, shop := range []child{one, two} {
		shop.Terminate()
		shop.Wait()
	}
}
