package log

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-os/go-os/telemetry"
)

// shortWriter accepts room bytes and no more, until there is room again.
type shortWriter struct {
	strings.Builder
	room   int
	silent bool // it reports no error, against io.Writer's contract
}

func (w *shortWriter) Write(p []byte) (int, error) {
	n := min(w.room, len(p))
	w.room -= n
	w.Builder.Write(p[:n])
	if n < len(p) && !w.silent {
		return n, errors.New("no space left on device")
	}
	return n, nil
}

// TestTornLines checks that a partly written line is counted as failed, and not joined to the next.
func TestTornLines(t *testing.T) {
	for _, silent := range []bool{false, true} {
		for room := range 40 {
			t.Run(fmt.Sprintf("%d bytes, silent %v", room, silent), func(t *testing.T) {
				w := &shortWriter{room: room, silent: silent}
				h := NewHandler(&Options{Telemetry: telemetry.Off(), ErrorHandler: func(error) {}}, JSON(w, nil))
				l := slog.New(h)
				l.Info("first, which gets there in part")
				l.Info("second, which finds no room")
				w.room = 1 << 20
				l.Info("third")
				if got := h.Stats().Failed; got != 2 {
					t.Errorf("%d failures are counted, want 2", got)
				}
				lines := strings.Split(strings.TrimSuffix(w.String(), "\n"), "\n")
				if last := lines[len(lines)-1]; !strings.HasPrefix(last, "{") || !strings.Contains(last, `"third"`) || len(lines) > 2 {
					t.Errorf("the lines are %q", lines)
				}
			})
		}
	}
}

func TestFileBehindALink(t *testing.T) {
	dir := t.TempDir()
	link, big := filepath.Join(dir, "app.log"), filepath.Join(dir, "big")
	if err := os.Symlink(filepath.Join("big", "app.log"), link); err != nil { // to a target that does not exist yet
		t.Fatal(err)
	}
	f, err := OpenFile(link, &FileOptions{KeepFiles: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i := range 3 {
		if _, err := fmt.Fprintf(f, "line %d\n", i); err != nil {
			t.Fatal(err)
		}
		if err := f.Rotate(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := fmt.Fprintln(f, "last"); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is now %v, %v", info, err)
	}
	text, err := os.ReadFile(filepath.Join(big, "app.log"))
	if err != nil || string(text) != "last\n" {
		t.Errorf("behind the link is %q, %v", text, err)
	}

	// A changed link takes effect at Reopen.
	if err := os.Remove(link); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(dir, "other.log"), link); err != nil {
		t.Fatal(err)
	}
	if err := f.Reopen(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(f, "moved\n"); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "other.log")); err != nil || string(text) != "moved\n" {
		t.Errorf("behind the new link is %q, %v", text, err)
	}
}

func TestFileBehindLinksWithoutEnd(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "app.log")
	if err := os.Symlink(link, link); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenFile(link, nil); err == nil || !strings.Contains(err.Error(), "symbolic links") {
		t.Errorf("OpenFile returned %v", err)
	}
}
