package editdistance_test

import (
	"strings"
	"testing"

	"github.com/go-os/go-os/internal/editdistance"
)

func TestDistance(t *testing.T) {
	long := strings.Repeat("x", 100)
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"cent", "cents", 1}, {"cents", "cent", 1}, {"timeout", "tiemout", 1}, {"port", "part", 1},
		{"", "abc", 3}, {"ca", "abc", 3}, {long, long, 0}, {long, long + "ab", 2}, {long[:64], long[:65], 1}, {"a" + long, long, 1},
	} {
		if got := editdistance.Distance(c.a, c.b); got != c.want {
			t.Errorf("%q to %q: %d, want %d", c.a, c.b, got, c.want)
		}
		if got := editdistance.Distance(c.b, c.a); got != c.want {
			t.Errorf("%q to %q: %d, want %d", c.b, c.a, got, c.want)
		}
	}
}
