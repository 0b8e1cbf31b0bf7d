package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-os/go-os/internal/tooling/testenv"
)

// settling is the response of a payments service about the settlement.
type settling struct {
	Leader  string `json:"leader"`
	Settled int    `json:"settled_here"`
}

func settlementAt(t *testing.T, url string) (s settling) {
	t.Helper()
	answer := ask(t, http.MethodGet, url+"/settlement", "")
	if err := json.Unmarshal([]byte(strings.TrimPrefix(answer, "200 ")), &s); err != nil {
		t.Fatalf("%s: %v", answer, err)
	}
	return s
}

// TestSettlementMoves kills the leading payments service: the other one settles from then on, and reports itself as the leader.
func TestSettlementMoves(t *testing.T) {
	t.Parallel()
	for name, where := range map[string]func(*testing.T) string{
		"etcd":     func(t *testing.T) string { return "etcd://" + testenv.Etcd(t).Endpoint() },
		"postgres": func(t *testing.T) string { return testenv.Postgres(t).URL() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			where := where(t)
			var shops []child
			var urls []string
			for range 2 {
				c := startShop(t, nil, "-service", "payments", "-sync", where, "-night", "100ms")
				url, _ := c.url("payments")
				shops, urls = append(shops, c), append(urls, url)
			}
			settles := func(i int) {
				t.Helper()
				testenv.Eventually(t, 20*time.Second, fmt.Sprintf("service %d to settle", i), func() error {
					if s := settlementAt(t, urls[i]); s.Leader != hostOf(urls[i]) || s.Settled < 2 {
						return fmt.Errorf("%+v", s)
					}
					return nil
				})
			}
			testenv.Eventually(t, 20*time.Second, "a leader", func() error {
				if settlementAt(t, urls[0]).Leader == "" {
					return errors.New("nobody leads")
				}
				return nil
			})
			first := 0
			if settlementAt(t, urls[0]).Leader == hostOf(urls[1]) {
				first = 1
			}
			settles(first)
			if s := settlementAt(t, urls[1-first]); s.Leader != hostOf(urls[first]) || s.Settled != 0 {
				t.Errorf("the one that does not lead: %+v", s)
			}
			shops[first].Kill()
			settles(1 - first)
			shops[1-first].Terminate()
			shops[1-first].Wait()
		})
	}
}

func TestSettlementAlone(t *testing.T) {
	t.Parallel()
	shop := startShop(t, nil, "-rate", "0", "-night", "50ms")
	url, _ := shop.url("payments")
	testenv.Eventually(t, 10*time.Second, "the settlement", func() error {
		if s := settlementAt(t, url); s.Leader != hostOf(url) || s.Settled == 0 {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	shop.Terminate()
	shop.Wait()
}
