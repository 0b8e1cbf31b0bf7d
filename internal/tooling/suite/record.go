package suite

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// Settle compares the results of a run with the record in a file, as JSON. If the environment variable is "write", it writes the record
// instead.
func Settle(t testing.TB, record any, file, variable string) {
	t.Helper()
	made, err := json.MarshalIndent(record, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	made = append(made, '\n')
	if os.Getenv(variable) == "write" {
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, made, 0o644)); err != nil {
			t.Fatal(err)
		}
		return
	}
	kept, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if !bytes.Equal(kept, made) {
		t.Errorf("%s is not what this run proved: run the test again with %s=write and keep the file\nthis run:\n%s", file, variable, made)
	}
}
