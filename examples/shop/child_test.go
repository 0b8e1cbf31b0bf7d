package main

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"testing"

	"github.com/go-os/go-os/examples/internal/childtest"
	"github.com/go-os/go-os/internal/tooling/testenv"
)

// program is the shop, compiled once for all tests.
var program childtest.Program

func TestMain(m *testing.M) {
	code := testenv.Run(m)
	program.Remove()
	os.Exit(code)
}

// child is a shop in a separate process.
type child struct {
	*childtest.Child
	t *testing.T
}

// startShop starts the program, and returns when it has printed the addresses of its services.
func startShop(t *testing.T, env []string, args ...string) child {
	t.Helper()
	c := child{childtest.Start(t, &program, env, args...), t}
	c.Await("exported to")
	return c
}

// url returns the address of a service, and the URL of its metrics.
func (c child) url(service string) (serves, metrics string) {
	c.t.Helper()
	return urlOf(c.t, c.Output(), service)
}

func urlOf(t *testing.T, output, service string) (serves, metrics string) {
	t.Helper()
	m := regexp.MustCompile(`(?m)^  ` + service + ` +(\S+) +(http://\S+/metrics)$`).FindStringSubmatch(output)
	if m == nil {
		t.Fatalf("no URLs of %s in\n%s", service, output)
	}
	return m[1], m[2]
}

// account is one row of the table of telemetry.
type account struct{ emitted, exported, dropped, queued int }

// accountOf parses a row of the printed table.
func accountOf(t *testing.T, output, service, signal string) (a account) {
	t.Helper()
	m := regexp.MustCompile(`(?m)^  ` + service + ` +` + signal + ` +(\d+) +(\d+) +(\d+) +(\d+)`).FindStringSubmatch(output)
	if m == nil {
		t.Fatalf("no account of %s %s in\n%s", service, signal, output)
	}
	for i, to := range []*int{&a.emitted, &a.exported, &a.dropped, &a.queued} {
		n, err := strconv.Atoi(m[i+1])
		if err != nil {
			t.Fatal(err)
		}
		*to = n
	}
	return a
}

func (a account) String() string {
	return fmt.Sprintf("emitted %d = exported %d + dropped %d + queued %d", a.emitted, a.exported, a.dropped, a.queued)
}
