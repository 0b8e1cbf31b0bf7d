package natskv

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestProgress checks that a read counts once the leader known to this connection has reached what any server has shown.
func TestProgress(t *testing.T) {
	t.Parallel()
	var h progress
	check := func(when string, link uint64, want bool) {
		t.Helper()
		if got := h.reached(h.needed(), link); got != want {
			t.Errorf("%s: reached is %t, want %t", when, got, want)
		}
	}
	check("nothing was seen", 0, true)
	h.observe(10)
	check("an event came from a replica", 0, false)
	h.observeLeader(9, 0)
	check("the leader is behind", 0, false)
	h.observeLeader(10, 0)
	check("the leader has it", 0, true)
	check("the connection is another one", 1, false)
	h.observeLeader(3, 1)
	check("the leader that this connection knows is behind", 1, false)
	h.observeLeader(12, 1)
	check("it has caught up", 1, true)
	if h.needed() != 12 {
		t.Errorf("%d is needed after a reply with 12", h.needed())
	}
}

// TestProgressRewinds checks that a bucket restored to an earlier state is accepted after a while, but not at once.
func TestProgressRewinds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h progress
		h.observe(100)
		if h.rewound(40) {
			t.Error("a leader that is behind for a moment is believed")
		}
		time.Sleep(acceptBehind / 2)
		h.observeLeader(100, 0)
		time.Sleep(acceptBehind)
		if h.rewound(40) {
			t.Error("a leader that was not behind all the time is believed")
		}
		time.Sleep(acceptBehind)
		if !h.rewound(40) || h.needed() != 40 {
			t.Errorf("after %s the bucket is not believed: %d is needed", acceptBehind, h.needed())
		}
	})
}
