package main

import (
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-os/go-os/internal/tooling/testenv"
)

// TestInstanceKilled runs three instances of each service, one of each in a process, on a registry in etcd. Under load, one process is killed,
// and then etcd. No request that can be retried may fail.
func TestInstanceKilled(t *testing.T) {
	t.Parallel()
	etcd := testenv.Etcd(t)
	args := []string{"-instances", "1", "-discovery", "etcd://" + etcd.Endpoint()}
	quiet, victim := startShop(t, nil, append(args, "-rate", "0")...), startShop(t, nil, append(args, "-rate", "0")...)
	busy := startShop(t, nil, append(args, "-rate", "150")...)
	for _, service := range services {
		serves(t, victim, service)
	}
	victim.Kill()
	more(t, quiet, 100)
	etcd.Kill()
	more(t, quiet, 100)

	busy.Terminate()
	quiet.Terminate()
	for _, c := range []child{busy, quiet} {
		if output := c.Wait(); strings.Contains(output, "can be retried") {
			t.Errorf("requests were lost:\n%s", output)
		}
	}
	output := busy.Output()
	for _, service := range services {
		if n := instancesUp(output, service); n < 2 {
			t.Errorf("%d instances of %s are up at the end, want the two that live:\n%s", n, service, output)
		}
	}
	// One visit in forty-four fails by the bug in payments. The orders that the killed process was working on may fail too.
	sent, failed := requestsSent(t, output), requestsFailed(t, output)
	if most := sent/44 + 1 + maxInFlight/4; failed > most || sent < 200 {
		t.Errorf("%d of %d requests failed, want %d at most", failed, sent, most)
	}
}

// instancesUp returns how many instances of a service are up in the printed table.
func instancesUp(output, service string) int {
	return len(regexp.MustCompile(`(?m)^  `+service+` +\S+ +\S+:\d+ +up$`).FindAllString(output, -1))
}

func requestsFailed(t *testing.T, output string) int {
	t.Helper()
	m := regexp.MustCompile(`(?m)^\d+ requests: \d+ ok, \d+ refused, (\d+) failed`).FindAllStringSubmatch(output, -1)
	n, err := strconv.Atoi(m[len(m)-1][1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// served returns how many requests a service of a process has answered.
func served(t *testing.T, c child, service string) (n int) {
	t.Helper()
	_, metrics := c.url(service)
	page := ask(t, http.MethodGet, metrics, "")
	for _, m := range regexp.MustCompile(`(?m)^(?:http_server_request|rpc_server_call)_duration_seconds_count\{.*\} (\d+)$`).FindAllStringSubmatch(page, -1) {
		count, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		n += count
	}
	return n
}

// serves waits until a service of a process has answered some requests.
func serves(t *testing.T, c child, service string) {
	t.Helper()
	testenv.Eventually(t, 20*time.Second, service+" to serve", func() error {
		if n := served(t, c, service); n < 3 {
			return fmt.Errorf("%d requests", n)
		}
		return nil
	})
}

// more waits until the storefront of a process has answered so many more requests.
func more(t *testing.T, c child, requests int) {
	t.Helper()
	before := served(t, c, "storefront")
	testenv.Eventually(t, 20*time.Second, "more requests", func() error {
		if n := served(t, c, "storefront") - before; n < requests {
			return fmt.Errorf("%d more requests", n)
		}
		return nil
	})
}

// TestRegistryMoves runs the shop on the other registries.
func TestRegistryMoves(t *testing.T) {
	t.Parallel()
	for name, where := range map[string]func(*testing.T) string{
		"consul": func(t *testing.T) string { return "consul://" + testenv.Consul(t).Addr(0) },
		"nats":   func(t *testing.T) string { return testenv.NATS(t).URL() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			output := startShop(t, nil, "-for", "1s", "-rate", "100", "-discovery", where(t)).Wait()
			for _, service := range services {
				if n := instancesUp(output, service); n != 3 {
					t.Errorf("%d instances of %s are up, want 3", n, service)
				}
			}
			if sent, failed := requestsSent(t, output), requestsFailed(t, output); sent < 20 || failed > sent/44+1 {
				t.Errorf("%d of %d requests failed", failed, sent)
			}
		})
	}
}
