package log

import (
	"hash/fnv"
	"log/slog"
	"sync/atomic"
)

// gate is one logger's view of Levels. It caches its level for as long as the snapshot is current.
type gate struct {
	levels *Levels
	name   string
	hash   uint64 // distinguishes loggers when messages are counted
	found  atomic.Pointer[found]
}

type found struct {
	in    *map[string]slog.Level
	level slog.Level
}

// gate returns the gate of a name, and remembers the name for Names.
func (l *Levels) gate(name string) *gate {
	l.see(name)
	h := fnv.New64a()
	h.Write([]byte(name)) // never fails
	return &gate{levels: l, name: name, hash: h.Sum64()}
}

// see records a name. The number of names is bounded, because they may come from outside.
func (l *Levels) see(name string) {
	if name == "" || len(name) > maxNameLength {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seen == nil {
		l.seen = make(map[string]struct{})
	}
	if len(l.seen) < maxLevelNames {
		l.seen[name] = struct{}{}
	}
}

func (g *gate) level() slog.Level {
	now := g.levels.snapshot.Load()
	if now == nil {
		return slog.LevelInfo
	}
	if f := g.found.Load(); f != nil && f.in == now {
		return f.level
	}
	f := &found{in: now, level: lookup(*now, g.name)}
	g.found.Store(f)
	return f.level
}
