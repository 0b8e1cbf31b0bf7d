package main

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
)

// condition is how an instance of payments works: well, or with a fault that shows how its callers avoid it.
type condition string

const (
	well    condition = "well"
	slow    condition = "slow"    // the bank takes slowdown times as long
	failing condition = "failing" // the bank is out of reach
)

// slowdown is how many times longer a slow instance waits for the bank.
const slowdown = 64

// conditionOf returns the condition that a text names.
func conditionOf(text string) (condition, error) {
	c := condition(strings.TrimSpace(text))
	if !slices.Contains([]condition{well, slow, failing}, c) {
		return "", fmt.Errorf("condition %q: must be %s, %s or %s", c, well, slow, failing)
	}
	return c, nil
}

// setCondition serves PUT /condition, which changes the condition of one instance while it runs.
func (r *replica) setCondition(w http.ResponseWriter, req *http.Request) {
	text, err := io.ReadAll(http.MaxBytesReader(w, req.Body, 100))
	if err != nil {
		http.Error(w, "the condition is not readable: "+err.Error(), http.StatusBadRequest)
		return
	}
	c, err := conditionOf(string(text))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.tally.change(r, c)
	w.WriteHeader(http.StatusNoContent)
}
