// Command table measures every case and writes docs/benchmarks.md.
//
//	go run ./table             measure and write
//	go run ./table -only KEY   measure the section whose title begins so, and leave the others
//	go run ./table -check      measure allocations, and fail if the table's differ or a case is missing from it
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-os/go-os/internal/tooling/bench"
)

func main() {
	bench.Candidate()
	file := flag.String("file", "../../../docs/benchmarks.md", "the table")
	check := flag.Bool("check", false, "compare instead of writing: allocations and rows, not times")
	rounds := flag.Int("rounds", 8000, "interleaved rounds; the figures are medians over them")
	each := flag.Duration("each", 250*time.Microsecond, "time of a case in one round")
	only := flag.String("only", "", "the beginning of the title of the one section to measure; empty means all")
	flag.Parse()
	if *check {
		*rounds, *each = 1, time.Millisecond
		testing.Init()
		if err := flag.Set("test.benchtime", "200ms"); err != nil { // enough to count allocations
			fail(err)
		}
	}
	made := render(*rounds, *each, !*check, *only)
	if *only != "" {
		held, err := os.ReadFile(*file)
		if err != nil {
			fail(err)
		}
		made = renewed(held, made)
	}
	if !*check {
		if err := os.WriteFile(*file, made, 0o644); err != nil {
			fail(err)
		}
		return
	}
	held, err := os.ReadFile(*file)
	if err != nil {
		fail(err)
	}
	if a, b := steady(held), steady(made); !bytes.Equal(a, b) {
		fail(fmt.Errorf("%s is stale (run `make bench`): its rows and allocations are\n%s\nand now they are\n%s", *file, a, b))
	}
	fmt.Println("docs/benchmarks.md: rows and allocations are fresh")
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "table:", err)
	os.Exit(1)
}

// render renders the page, or one section of it. Figures that need engines are zero unless engines is set: the check compares no times.
func render(rounds int, each time.Duration, engines bool, only string) []byte {
	var out bytes.Buffer
	fmt.Fprintf(&out, `# Benchmarks

%smake bench%s makes this page. CI compares its rows and allocations, which are exact, with a new measurement. Times are the tenth
percentile of %d short rounds that alternate in one process on a shared machine. Compare them with each other; do not read them alone.

%s, %s/%s, %d cores.
`, "`", "`", rounds, runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	wanted := func(title string) bool { return strings.HasPrefix(title, only) }
	for _, g := range bench.Groups {
		if wanted(g.Name) {
			fmt.Fprintln(os.Stderr, "measuring:", g.Name)
			group(&out, g, rounds, each)
		}
	}
	for _, s := range []struct {
		title string
		write func()
	}{
		{"Key-value beside the engine's client", func() { pairs(&out, engines) }},
		{"Client-side caching", func() { hot(&out, rounds, each, engines) }},
		{"Watchers", func() { fanOut(&out, engines) }},
		{"Near cache", func() { staleness(&out, engines) }},
		{"Locks and elections", func() { locks(&out, engines) }},
		{"Configuration, a fleet", func() { fleets(&out, engines) }},
		{"Load balancing", func() { balancing(&out, engines) }},
	} {
		if wanted(s.title) {
			s.write()
		}
	}
	return out.Bytes()
}

// renewed returns the page with the new sections in place of the old ones.
func renewed(page, made []byte) []byte {
	const title = "\n## "
	sections := strings.Split(string(page), title)
	for _, anew := range strings.Split(string(made), title)[1:] {
		name, _, _ := strings.Cut(anew, "\n")
		at := slices.IndexFunc(sections, func(s string) bool { return strings.HasPrefix(s, name+"\n") })
		if at < 0 {
			sections = append(sections, anew)
		} else {
			sections[at] = anew
		}
	}
	return []byte(strings.Join(sections, title))
}

func group(out *bytes.Buffer, g bench.Group, rounds int, each time.Duration) {
	figures := g.Measure(rounds, each)
	fmt.Fprintf(out, "\n## %s\n\n%s\n\n| case | time | bytes | allocations |\n|---|---:|---:|---:|\n", g.Name, g.What)
	for _, c := range g.Cases {
		f := figures[c.Name]
		fmt.Fprintf(out, "| %s | %d ns | %d | %d |\n", c.Name, f.Time.Nanoseconds(), f.Bytes, f.Allocs)
	}
	fmt.Fprint(out, "\n| target | at most | measured |\n|---|---:|---:|\n")
	for _, t := range g.Targets {
		fmt.Fprintf(out, "| %s | %s | %s |\n", t.Name, t.Text(t.Most), t.Text(t.Got(figures)))
	}
}

// moving matches the figures that differ from run to run: times, bytes, ratios. gRPC's allocations vary by a few with scheduling.
var moving = regexp.MustCompile(`-?[\d.]+ ns|-?[\d.]+×|-?\d+ B \||\d+ / s|\| \d+ \|`)

// steady returns the part of the table that is the same in every run: its rows and its HTTP and log allocations.
func steady(table []byte) []byte {
	var out strings.Builder
	exact := false
	for line := range strings.Lines(string(table)) {
		if strings.HasPrefix(line, "## ") {
			exact = !strings.Contains(line, "gRPC")
		}
		if !strings.HasPrefix(line, "|") {
			continue
		}
		line = moving.ReplaceAllString(line, "|")
		if !exact {
			line = regexp.MustCompile(`-?\d+ (allocations )?\|\n`).ReplaceAllString(line, "|\n")
		}
		out.WriteString(line)
	}
	return []byte(out.String())
}
