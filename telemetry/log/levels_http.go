package log

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"
)

// maxLevelBody bounds the body of a request, in bytes.
const maxLevelBody = 4 << 10

// levelChange is the body of a PUT.
type levelChange struct {
	Logger *string `json:"logger"`
	Level  *string `json:"level"`
	For    *string `json:"for"`
}

// levelPage is the body of every successful response.
type levelPage struct {
	Levels  []levelLine `json:"levels"`
	Loggers []string    `json:"loggers"`
}

type levelLine struct {
	Logger string     `json:"logger"`
	Level  string     `json:"level"`
	Until  *time.Time `json:"until,omitempty"`
}

// ServeHTTP shows levels and changes them:
//
//	GET     {"levels":[{"logger":"","level":"INFO"}],"loggers":["state.kv"]}: what is set, and the names in use
//	PUT     {"logger":"state.kv","level":"debug","for":"10m"}: sets a level; "for":"0s" makes it last
//	DELETE  ?logger=state.kv: resets it
//
// A successful response to each is the one of GET. A bad request gets status 400 and {"error":"…"}, which names the mistake,
// and changes nothing. ServeHTTP does not authorize: serve it where only operators can reach it.
func (l *Levels) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var err error
	switch r.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodPut: // and not POST, which any web page can make a browser send
		err = l.put(w, r)
	case http.MethodDelete:
		if !r.URL.Query().Has("logger") {
			err = fmt.Errorf(`log: %w: the query lacks "logger": write ?logger=NAME, or ?logger= for the default`, ErrInvalid)
		} else {
			err = l.reset(r.Context(), r.URL.Query().Get("logger"))
		}
	default:
		w.Header().Set("Allow", "GET, HEAD, PUT, DELETE")
		answer(w, http.StatusMethodNotAllowed, map[string]string{"error": "use GET to look, PUT to set, DELETE to reset"})
		return
	}
	if err != nil {
		answer(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
		return
	}
	answer(w, http.StatusOK, l.page())
}

func (l *Levels) put(w http.ResponseWriter, r *http.Request) error {
	var c levelChange
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxLevelBody))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return fmt.Errorf("log: %w: the body is not {\"logger\":…,\"level\":…,\"for\":…}: %w", ErrInvalid, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("log: %w: there is more than one JSON value in the body", ErrInvalid)
	}
	if c.Logger == nil || c.Level == nil || c.For == nil {
		return fmt.Errorf(`log: %w: the body must have "logger" ("" is the default), "level" and "for" (as "10m"; "0s" lasts)`, ErrInvalid)
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(*c.Level)); err != nil {
		return fmt.Errorf(`log: %w: level %q: want debug, info, warn or error, with an offset if need be, as in "info+2"`, ErrInvalid, *c.Level)
	}
	revert, err := time.ParseDuration(*c.For)
	if err != nil {
		return fmt.Errorf(`log: %w: for %q: want a duration such as "10m", or "0s" for a level that lasts`, ErrInvalid, *c.For)
	}
	return l.set(r.Context(), *c.Logger, level, revert)
}

func (l *Levels) page() levelPage {
	page := levelPage{Loggers: append([]string{}, l.Names()...)}
	for _, s := range l.All() {
		line := levelLine{Logger: s.Name, Level: s.Level.String()}
		if !s.Until.IsZero() {
			line.Until = &s.Until
		}
		page.Levels = append(page.Levels, line)
	}
	return page
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // a client that disconnected needs no error
}
