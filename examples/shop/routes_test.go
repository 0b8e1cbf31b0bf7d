package main

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/go-os/go-os/internal/tooling/testenv"
)

// thirdOfFair is a third of the share, in percent, that one of three instances has if they are treated alike.
const thirdOfFair = 100.0 / 9

// TestRoundAFaultyInstance makes one of three instances of payments slow or failing while the shop runs. The others get its charges. No
// order fails for it, and later the instance gets its share again.
func TestRoundAFaultyInstance(t *testing.T) {
	t.Parallel()
	for _, fault := range []condition{slow, failing} {
		t.Run(string(fault), func(t *testing.T) {
			t.Parallel()
			shop := startShop(t, nil, "-rate", "150")
			victim := lastOf(t, shop, "payments")
			become := func(c condition) {
				t.Helper()
				expect(t, "http://"+victim, [2]string{"PUT /condition " + string(c), "204 "})
			}
			charges := func(n int) { t.Helper(); charged(t, shop, n) }
			charges(30)
			become(fault)
			charges(30)
			if fault == slow {
				routed(t, shop, victim+` .* ejected: breaker open$`)
			}
			become(fault)
			charges(60)
			become(well)
			routed(t, shop, victim+` +100\.00 .* \d % +available$`) // its failures are almost forgotten
			charges(60)
			become(well)
			charges(60)
			shop.Terminate()

			output := shop.Wait()
			shares := sharesOf(t, output, victim)
			if len(shares) != 5 {
				t.Fatalf("want five periods of %s, got %v in\n%s", victim, shares, output)
			}
			if shares[2] >= thirdOfFair || shares[4] <= thirdOfFair {
				t.Errorf("the shares of %s are %v, want less than %.0f %% in the third period, and more in the fifth:\n%s", victim, shares, thirdOfFair, output)
			}
			if got, want := requestsFailed(t, output), bugs(requestsSent(t, output)); got != want {
				t.Errorf("%d requests failed, want the %d that trigger the bug:\n%s", got, want, output)
			}
		})
	}
}

// bugs returns how many of the first visits trigger the bug in payments.
func bugs(visits int) (n int) {
	all := mix()
	for i := range visits {
		if strings.Contains(all[i*7%len(all)].body, `"card":"42"`) {
			n++
		}
	}
	return n
}

// lastOf returns the address of the last instance of a service.
func lastOf(t *testing.T, c child, service string) string {
	t.Helper()
	m := regexp.MustCompile(`(?m)^  ` + service + ` .*\n(?: {14}\S+\n)* {14}http://(\S+)\n`).FindStringSubmatch(c.Output())
	if m == nil {
		t.Fatalf("no further instance of %s in\n%s", service, c.Output())
	}
	return m[1]
}

// charged waits until payments has answered so many more requests.
func charged(t *testing.T, c child, more int) {
	t.Helper()
	before := served(t, c, "payments")
	testenv.Eventually(t, settingsWithin*2, "charges", func() error {
		if n := served(t, c, "payments") - before; n < more {
			return errors.New(strconv.Itoa(n) + " charges")
		}
		return nil
	})
}

// routed waits until the page about the calls of orders has a line that matches.
func routed(t *testing.T, c child, line string) {
	t.Helper()
	_, metrics := c.url("orders")
	testenv.Eventually(t, settingsWithin*2, line, func() error {
		page := ask(t, http.MethodGet, strings.TrimSuffix(metrics, "metrics")+"routes", "")
		if !regexp.MustCompile(`(?m)` + line).MatchString(page) {
			return errors.New(page)
		}
		return nil
	})
}

// sharesOf returns the shares of an instance in the periods of the report, in percent.
func sharesOf(t *testing.T, output, address string) (shares []float64) {
	t.Helper()
	for _, m := range regexp.MustCompile(regexp.QuoteMeta(address)+` +(?:well|slow|failing) +\d+ +(\d+) %`).FindAllStringSubmatch(output, -1) {
		share, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			t.Fatal(err)
		}
		shares = append(shares, share)
	}
	return shares
}

// TestFaultByFlag: the last instance of payments has the fault in the second third of the run.
func TestFaultByFlag(t *testing.T) {
	for _, fault := range []condition{slow, failing} {
		var out bytes.Buffer
		if err := run(t.Context(), []string{"-for", "600ms", "-fault", string(fault)}, &out, io.Discard); err != nil {
			t.Fatal(err)
		}
		inOrder(t, out.String(), " is "+string(fault)+" now\n", " is well now\n", "Charges by instance of payments")
		var got []string
		for _, m := range regexp.MustCompile(` (well|slow|failing) +\d+ +\d+ %`).FindAllStringSubmatch(out.String(), -1) {
			got = append(got, m[1])
		}
		if want := "well well well well well " + string(fault) + " well well well"; strings.Join(got, " ") != want {
			t.Errorf("the conditions are %v, want %s, in\n%s", got, want, &out)
		}
	}
}

// TestCondition: an instance refuses a condition that it does not know.
func TestCondition(t *testing.T) {
	t.Parallel()
	shop := startShop(t, nil, "-rate", "0")
	expect(t, "http://"+lastOf(t, shop, "payments"), [][2]string{
		{"PUT /condition tired", `400 condition "tired": must be well, slow or failing`},
		{"PUT /condition " + strings.Repeat("x", 101), "400 the condition is not readable: http: request body too large"},
		{"PUT /condition slow\n", "204 "},
	}...)
	shop.Terminate()
	shop.Wait()
}

// TestRoutesFollowSettings changes the policy of payments while the shop runs.
func TestRoutesFollowSettings(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "shop.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("routes: {payments: {balance: {algorithm: least_request}}}\n")
	shop := startShop(t, nil, "-rate", "50", "-config", path)
	routed(t, shop, `payments \(http\): least_request, `)
	write("routes: {payments: {balance: {algorithm: round_robin}}}\n")
	routed(t, shop, `payments \(http\): round_robin, `)
	write("routes: {payments: {retry: {attempts: 9}}}\n")
	shop.Await(`routes\.payments.*attempts.*9`)
	write("routes: {payment: {}}\n")
	shop.Await(`routes\.payment: no such service: must be one of storefront, orders, payments, or \*`)
	routed(t, shop, `payments \(http\): round_robin, `)
	shop.Terminate()
	shop.Wait()
}
