package sanitize_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/go-os/go-os/internal/sanitize"
)

func TestText(t *testing.T) {
	for _, test := range []struct {
		in    string
		limit int
		want  string
	}{
		{"", 4, ""},
		{"plain", 5, "plain"},
		{"plain", 4, "plai"},
		{"grün", 3, "gr"},
		{"grün", 4, "grü"},
		{"a\xffb", 10, "a\uFFFDb"},
		{"a\xffb", 3, "a"},
		{"\x80\x80\x80\x80", 2, ""},
	} {
		if got := sanitize.Text(test.in, test.limit); got != test.want {
			t.Errorf("Text(%q, %d) = %q, want %q", test.in, test.limit, got, test.want)
		}
	}
}

func TestTextLeavesGoodTextAlone(t *testing.T) {
	s := strings.Repeat("ü", 100)
	if n := testing.AllocsPerRun(10, func() { sanitize.Text(s, 200) }); n != 0 {
		t.Errorf("good text costs %v allocations, want 0", n)
	}
}

func FuzzText(f *testing.F) {
	f.Add("plain", 3)
	f.Add("\xff\xfe", 1)
	f.Add("日本", 4)
	f.Fuzz(func(t *testing.T, s string, limit int) {
		limit &= 0xff
		got := sanitize.Text(s, limit)
		if len(got) > limit || !utf8.ValidString(got) {
			t.Errorf("Text(%q, %d) = %q", s, limit, got)
		}
		if len(s) <= limit && utf8.ValidString(s) && got != s {
			t.Errorf("Text(%q, %d) = %q, want it unchanged", s, limit, got)
		}
	})
}
