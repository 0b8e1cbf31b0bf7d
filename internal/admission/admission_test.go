package admission_test

import (
	"testing"
	"time"

	"github.com/go-os/go-os/internal/admission"
)

func TestLimit(t *testing.T) {
	l := admission.NewLimit(2)
	for range 2 {
		if !l.Acquire() {
			t.Fatal("a free place was refused")
		}
	}
	for range 100 {
		if l.Acquire() {
			t.Fatal("there are more places than two")
		}
	}
	l.Release()
	if !l.Acquire() {
		t.Error("refusals keep a place that was given back")
	}
}

func TestNoLimit(t *testing.T) {
	for _, places := range []int{0, -1} {
		l := admission.NewLimit(places)
		for range 100 {
			if !l.Acquire() {
				t.Fatalf("NewLimit(%d) refuses", places)
			}
		}
		l.Release()
	}
}

func TestLinesAreBoundedAndCounted(t *testing.T) {
	var l admission.Lines
	now := time.Unix(100, 0)
	lines := 0
	for range 25 {
		if l.Begin(now) {
			lines++
			l.End()
		}
	}
	if n := l.TakeUnlogged(); lines != 10 || n != 15 {
		t.Errorf("%d lines and %d unlogged refusals of 25 in one second, want 10 and 15", lines, n)
	}
	if n := l.TakeUnlogged(); n != 0 {
		t.Errorf("%d refusals were counted twice", n)
	}
	if !l.Begin(now.Add(time.Second)) {
		t.Fatal("no line in the next second")
	}
	if l.Begin(now.Add(2 * time.Second)) {
		t.Error("a second line while the first is being written")
	}
	l.End()
	if !l.Begin(now.Add(2*time.Second)) || l.TakeUnlogged() != 1 {
		t.Error("the refusal without a line is not counted")
	}
}
