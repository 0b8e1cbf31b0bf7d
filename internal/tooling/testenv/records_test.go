package testenv

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func record(text string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(text))), text...)
}

func textFile(path string) *recordFile[string] {
	return &recordFile[string]{path: path, decode: func(b []byte) ([]string, error) { return []string{string(b)}, nil }}
}

// TestRecordFileToleratesATornEnd: a file that ends anywhere must give its complete records. After trimming it must take new ones.
func TestRecordFileToleratesATornEnd(t *testing.T) {
	whole := slices.Concat(record("one"), record(""), record("three"))
	ends := []int{len(record("one")), len(record("one")) + prefix, len(whole)}
	for cut := range len(whole) + 1 {
		path := filepath.Join(t.TempDir(), "records")
		if err := os.WriteFile(path, whole[:cut], 0o644); err != nil {
			t.Fatal(err)
		}
		var want []string
		for i, end := range ends {
			if cut >= end {
				want = append(want, []string{"one", "", "three"}[i])
			}
		}
		file := textFile(path)
		if got, err := file.all(); err != nil || !slices.Equal(got, want) {
			t.Errorf("cut at %d: %q, %v, want %q", cut, got, err, want)
		}
		if err := trimTorn(path); err != nil {
			t.Fatal(err)
		}
		appendTo(t, path, record("next"))
		if got, err := file.all(); err != nil || !slices.Equal(got, append(want, "next")) {
			t.Errorf("cut at %d, trimmed and continued: %q, %v", cut, got, err)
		}
	}
}

// TestRecordFileFollowsItsWriter: a record that is still being written must appear once it is complete, and only once.
func TestRecordFileFollowsItsWriter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records")
	file := textFile(path)
	if got, err := file.all(); err != nil || len(got) != 0 {
		t.Errorf("before the first write: %q, %v", got, err)
	}
	for i, b := range slices.Concat(record("one"), record("two")) {
		appendTo(t, path, []byte{b})
		want := []string{"one", "two"}[:(i+1)/len(record("one"))]
		if got, err := file.all(); err != nil || !slices.Equal(got, want) {
			t.Errorf("after byte %d: %q, %v, want %q", i, got, err, want)
		}
	}
}

func appendTo(t *testing.T, path string, data []byte) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.Write(data); err != nil {
		t.Fatal(err)
	}
}
