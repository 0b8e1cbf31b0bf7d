package log

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"go.opentelemetry.io/otel/attribute"
	otellog "go.opentelemetry.io/otel/log"

	"github.com/go-os/go-os/internal/instrument"
	"github.com/go-os/go-os/telemetry"
)

// Limits on the memory that a mistake can use.
const (
	maxLevelNames = 1000 // names with a level of their own, and names remembered
	maxNameLength = 200  // bytes
)

// Levels holds the least level that is written, by logger name. A name without a level inherits that of its nearest ancestor:
// "state.kv.etcd" inherits from "state.kv", then "state", then the default, whose name is "".
//
// A temporary level overrides the lasting one of the same name and reverts to it. Setting a name again replaces a temporary
// level and its time; a lasting level also ends a temporary one. So after any overlap, the last lasting level applies in the
// end. Levels is also an http.Handler that shows and changes levels, see ServeHTTP. It is safe for concurrent use. The zero
// value has the default Info; it must not be copied.
type Levels struct {
	snapshot atomic.Pointer[map[string]slog.Level] // current levels by name; immutable, replaced as a whole; nil: all Info

	mu       sync.Mutex
	settings map[string]*setting // nil in the zero value
	seen     map[string]struct{}
	changed  *instrument.Event // nil until Observe
}

// setting holds the levels set for one name.
type setting struct {
	lasting *slog.Level // nil: none, the name inherits
	passing slog.Level
	until   time.Time // zero: no temporary level
	timer   *time.Timer
}

// LevelSetting is the level that was set for one name.
type LevelSetting struct {
	// Name of the logger; empty for the default.
	Name string
	// Level is the current level.
	Level slog.Level
	// Until is when a temporary level reverts. Zero means that the level lasts.
	Until time.Time
}

// NewLevels returns Levels with only the default set.
func NewLevels(def slog.Level) *Levels {
	l := &Levels{}
	l.begin(def)
	return l
}

// begin sets the default, which must exist before any other level. The caller holds mu, or has the only reference.
func (l *Levels) begin(def slog.Level) {
	if l.settings == nil {
		l.settings = map[string]*setting{"": {lasting: &def}}
		l.publish()
	}
}

// Observe emits an OTel event for every later change; see the package's Telemetry section.
func (l *Levels) Observe(p telemetry.Providers) {
	event := instrument.NewEvent(p.EventLogger(scopeName), "goos.log.level.changed", otellog.SeverityInfo)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.changed = event
}

// Set changes the level of a name and of its descendants that have none of their own. The empty name is the default. A
// positive revert makes the change temporary; zero makes it last. It fails with ErrInvalid, and changes nothing, if the name
// is malformed, if revert is negative, or if a thousand names have levels already.
func (l *Levels) Set(name string, level slog.Level, revert time.Duration) error {
	return l.set(context.Background(), name, level, revert)
}

func (l *Levels) set(ctx context.Context, name string, level slog.Level, revert time.Duration) error {
	if err := checkName(name); err != nil {
		return err
	}
	if revert < 0 {
		return fmt.Errorf("log: %w: revert of %q after %v: the time must not be negative; zero means that the level lasts", ErrInvalid, name, revert)
	}
	return l.change(ctx, name, "set", revert, func(s *setting) error {
		if s == nil {
			if len(l.settings) >= maxLevelNames {
				return fmt.Errorf("log: %w: %d names have levels already; reset one before setting %q", ErrInvalid, maxLevelNames, name)
			}
			s = &setting{}
			l.settings[name] = s
		}
		s.stop()
		if revert == 0 {
			s.lasting = &level
			return nil
		}
		s.passing, s.until = level, time.Now().Add(revert)
		s.timer = l.revertAfter(revert, name, s)
		return nil
	})
}

// Reset removes the level of a name, so that the name inherits again. The default cannot be removed; Reset only ends its
// temporary level. If nothing is set for the name, nothing changes. Reset fails with ErrInvalid if the name is malformed.
func (l *Levels) Reset(name string) error { return l.reset(context.Background(), name) }

func (l *Levels) reset(ctx context.Context, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	err := l.change(ctx, name, "reset", 0, func(s *setting) error {
		if s == nil || name == "" && s.until.IsZero() {
			return errUnchanged
		}
		s.stop()
		if name != "" {
			delete(l.settings, name)
		}
		return nil
	})
	if errors.Is(err, errUnchanged) {
		return nil
	}
	return err
}

// revertAfter ends a temporary level after d, unless it was replaced before the timer could be stopped.
func (l *Levels) revertAfter(d time.Duration, name string, s *setting) *time.Timer {
	var self *time.Timer
	self = time.AfterFunc(d, func() {
		_ = l.change(context.Background(), name, "reverted", 0, func(now *setting) error {
			if now != s || s.timer != self { // self is set: the caller held the lock that change holds while setting it
				return errUnchanged
			}
			s.stop()
			if s.lasting == nil {
				delete(l.settings, name)
			}
			return nil
		})
	})
	return self
}

// errUnchanged is the result of an edit that has nothing to change.
var errUnchanged = errors.New("log: there is nothing to change")

// stop discards the temporary level.
func (s *setting) stop() {
	if s.timer != nil {
		s.timer.Stop()
	}
	s.timer, s.until = nil, time.Time{}
}

func (s *setting) level() slog.Level {
	if s.until.IsZero() {
		return *s.lasting
	}
	return s.passing
}

// change applies edit to the setting of a name (nil if none), publishes the result and emits an event.
func (l *Levels) change(ctx context.Context, name, reason string, revert time.Duration, edit func(*setting) error) error {
	l.mu.Lock()
	l.begin(slog.LevelInfo)
	before := lookup(*l.snapshot.Load(), name)
	if err := edit(l.settings[name]); err != nil {
		l.mu.Unlock()
		return err
	}
	after := lookup(l.publish(), name)
	event := l.changed
	l.mu.Unlock()

	if event == nil {
		return nil
	}
	attrs := []attribute.KeyValue{
		attribute.String("goos.log.logger", name),
		attribute.String("goos.log.level", after.String()),
		attribute.String("goos.log.previous_level", before.String()),
		attribute.String("goos.log.reason", reason),
	}
	if revert > 0 {
		attrs = append(attrs, attribute.Float64("goos.log.revert_after", revert.Seconds()))
	}
	event.Emit(ctx, attrs...)
	return nil
}

// publish makes the settings current. The caller holds mu, or has the only reference.
func (l *Levels) publish() map[string]slog.Level {
	m := make(map[string]slog.Level, len(l.settings))
	for name, s := range l.settings {
		m[name] = s.level()
	}
	l.snapshot.Store(&m)
	return m
}

// Get returns the current level of a name.
func (l *Levels) Get(name string) slog.Level {
	now := l.snapshot.Load()
	if now == nil {
		return slog.LevelInfo
	}
	return lookup(*now, name)
}

// All returns the settings, the default first, then by name.
func (l *Levels) All() []LevelSetting {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.begin(slog.LevelInfo)
	all := make([]LevelSetting, 0, len(l.settings))
	for name, s := range l.settings {
		all = append(all, LevelSetting{Name: name, Level: s.level(), Until: s.until})
	}
	slices.SortFunc(all, func(a, b LevelSetting) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// Names returns the logger names in order: the first thousand, without those over 200 bytes.
func (l *Levels) Names() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Sorted(maps.Keys(l.seen))
}

func lookup(levels map[string]slog.Level, name string) slog.Level {
	for {
		if level, ok := levels[name]; ok || name == "" {
			return level
		}
		name = name[:max(0, strings.LastIndexAny(name, "./"))]
	}
}

func checkName(name string) error {
	switch {
	case name == "":
		return nil
	case !utf8.ValidString(name):
		return fmt.Errorf("log: %w: logger name %q: it is not UTF-8", ErrInvalid, name[:min(len(name), maxNameLength)])
	case len(name) > maxNameLength:
		return fmt.Errorf("log: %w: a logger name of %d bytes: %d at most", ErrInvalid, len(name), maxNameLength)
	case strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == 0x7f }):
		return fmt.Errorf("log: %w: logger name %q: no spaces or control characters", ErrInvalid, name)
	case slices.Contains(strings.Split(strings.ReplaceAll(name, "/", "."), "."), ""):
		return fmt.Errorf("log: %w: logger name %q: it has an empty part; write it as in \"state.kv\"", ErrInvalid, name)
	}
	return nil
}
