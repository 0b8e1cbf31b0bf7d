package log

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func ask(l *Levels, method, target, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	l.ServeHTTP(w, httptest.NewRequest(method, target, strings.NewReader(body)))
	return w
}

func TestLevelsOverHTTP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLevels(slog.LevelInfo)
		Named(New(&Options{Levels: l}), "state.kv")
		const before = `{"levels":[{"logger":"","level":"INFO"}],"loggers":["state.kv"]}` + "\n"
		w := ask(l, "GET", "/", "")
		if w.Code != http.StatusOK || w.Body.String() != before || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("GET answered %d %s", w.Code, w.Body)
		}
		w = ask(l, "PUT", "/", `{"logger":"state.kv","level":"debug","for":"10m"}`)
		const changed = `{"levels":[{"logger":"","level":"INFO"},{"logger":"state.kv","level":"DEBUG","until":"2000-01-01T00:10:00Z"}],"loggers":["state.kv"]}`
		if got := strings.ReplaceAll(w.Body.String(), "\n", ""); w.Code != http.StatusOK || inUTC(t, got) != changed {
			t.Errorf("PUT answered %d %s", w.Code, got)
		}
		if l.Get("state.kv") != slog.LevelDebug {
			t.Error("PUT did not change the level")
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if got := ask(l, "GET", "/", "").Body.String(); got != before {
			t.Errorf("after ten minutes GET answered %s", got)
		}
		ask(l, "PUT", "/", `{"logger":"","level":"warn+1","for":"0s"}`)
		if got := l.Get(""); got != slog.LevelWarn+1 {
			t.Errorf("the default is %v", got)
		}
		ask(l, "PUT", "/", `{"logger":"a","level":"ERROR","for":"0s"}`)
		if w := ask(l, "DELETE", "/?logger=a", ""); w.Code != http.StatusOK || l.Get("a") != slog.LevelWarn+1 {
			t.Errorf("DELETE answered %d %s", w.Code, w.Body)
		}
	})
}

// inUTC converts the one time in a page from the machine's zone to UTC.
func inUTC(t *testing.T, page string) string {
	t.Helper()
	var p levelPage
	if err := json.Unmarshal([]byte(page), &p); err != nil {
		t.Fatal(err)
	}
	for i := range p.Levels {
		if u := p.Levels[i].Until; u != nil {
			*u = u.UTC()
		}
	}
	out, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestBadLevelRequests(t *testing.T) {
	l := NewLevels(slog.LevelInfo)
	for _, c := range []struct {
		method, target, body string
		status               int
		says                 string
	}{
		{"POST", "/", `{"logger":"a","level":"debug","for":"1m"}`, http.StatusMethodNotAllowed, "use GET to look"},
		{"PUT", "/", ``, http.StatusBadRequest, "the body is not"},
		{"PUT", "/", `debug`, http.StatusBadRequest, "the body is not"},
		{"PUT", "/", `{"name":"a","level":"debug","for":"1m"}`, http.StatusBadRequest, `unknown field "name"`},
		{"PUT", "/", `{"logger":"a","level":"debug"}`, http.StatusBadRequest, `must have`},
		{"PUT", "/", `{"logger":"a","level":"debug","for":"1m"}{}`, http.StatusBadRequest, "more than one"},
		{"PUT", "/", `{"logger":"a","level":"loud","for":"1m"}`, http.StatusBadRequest, `level "loud": want debug`},
		{"PUT", "/", `{"logger":"a","level":"debug","for":"10"}`, http.StatusBadRequest, `for "10": want a duration`},
		{"PUT", "/", `{"logger":"a","level":"debug","for":"-1m"}`, http.StatusBadRequest, "must not be negative"},
		{"PUT", "/", `{"logger":"a b","level":"debug","for":"1m"}`, http.StatusBadRequest, `logger name "a b"`},
		{"PUT", "/", `{"logger":"` + strings.Repeat("a", maxLevelBody) + `"}`, http.StatusBadRequest, "too large"},
		{"DELETE", "/", ``, http.StatusBadRequest, `lacks "logger"`},
		{"DELETE", "/?logger=a..b", ``, http.StatusBadRequest, `logger name "a..b"`},
		{"DELETE", "/?logger=%ff", ``, http.StatusBadRequest, `it is not UTF-8`},
		{"DELETE", "/?logger=" + strings.Repeat("a", maxNameLength+1), ``, http.StatusBadRequest, `200 at most`},
	} {
		w := ask(l, c.method, c.target, c.body)
		var answer struct {
			Error string `json:"error"`
		}
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
			t.Errorf("%s %s: %v: %s", c.method, c.body, err, w.Body)
		}
		if w.Code != c.status || !strings.Contains(answer.Error, c.says) {
			t.Errorf("%s %.60s: got %d %q, want %d and %q", c.method, c.body, w.Code, answer.Error, c.status, c.says)
		}
	}
	if n := len(l.All()); n != 1 {
		t.Errorf("bad requests left %d settings", n)
	}
}
