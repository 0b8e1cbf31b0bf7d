package discovery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-os/go-os/control/discovery/driver"
	"github.com/go-os/go-os/internal/backoff"
	"github.com/go-os/go-os/internal/safefile"
)

const (
	// diskPatience is how long the registry has to answer before a saved snapshot is used.
	diskPatience = 50 * time.Millisecond
	// saveDelay collects the changes of a moment in one write.
	saveDelay = time.Second
	// saveInterval is how often a snapshot without changes is saved again, so that its age is known after a crash.
	saveInterval = 10 * time.Minute
	// maxSaved is the size limit of a file, in bytes.
	maxSaved = 64 << 20
)

// savedFormat is the version of the file format. A file with another version is not used.
const savedFormat = 1

// savedFile is the contents of the file of one service.
type savedFile struct {
	Format int `json:"format"`
	// Saved is when the registry was last known to have these records.
	Saved   time.Time     `json:"saved"`
	Records []savedRecord `json:"records"`
}

// savedRecord is a record, and since when it is held.
type savedRecord struct {
	driver.Record
	Held time.Time `json:"held,omitzero"`
}

// disk is the file of one service.
type disk struct {
	path    string
	changed chan struct{} // holds one element while there is something to save
	last    string        // the last error that was reported
}

func newDisk(dir, service string) *disk {
	if dir == "" {
		return nil
	}
	name := strings.ReplaceAll(service, ":", "%3A") // not allowed in names on Windows
	return &disk{path: filepath.Join(dir, name+".json"), changed: make(chan struct{}, 1)}
}

// touch schedules a write of the file. d may be nil.
func (d *disk) touch() {
	if d == nil {
		return
	}
	select {
	case d.changed <- struct{}{}:
	default:
	}
}

// read returns the contents of the file; nil if there is no file.
func (d *disk) read(service string) (*savedFile, error) {
	data, err := safefile.Read(d.path, maxSaved)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var file savedFile
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if file.Format != savedFormat {
		return nil, fmt.Errorf("%w: format %d: this version reads format %d", ErrInvalid, file.Format, savedFormat)
	}
	for _, r := range file.Records {
		if err := checkRead(r.Instance); err != nil {
			return nil, err
		}
		if r.Service != service {
			return nil, fmt.Errorf("%w: a record of service %q", ErrInvalid, r.Service)
		}
	}
	return &file, nil
}

func (d *disk) write(file *savedFile) error {
	data, err := json.Marshal(file)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(d.path), 0o700)
	}
	if err == nil {
		err = safefile.Write(d.path, data)
	}
	return err
}

// recall uses the saved snapshot if the registry fails or does not answer at once.
func (s *service) recall(ctx context.Context) {
	file, err := s.disk.read(s.name)
	if err != nil {
		s.diskFailed(ctx, fmt.Errorf("%s is not used: %w", s.disk.path, err))
	}
	if file == nil {
		return
	}
	timer := time.NewTimer(diskPatience)
	defer timer.Stop()
	select {
	case <-s.loaded:
	case <-s.failed:
		s.adopt(file)
	case <-timer.C:
		s.adopt(file)
	case <-ctx.Done():
	}
}

// adopt makes a saved snapshot the present one, unless the registry has answered.
func (s *service) adopt(file *savedFile) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.answered {
		return
	}
	s.known, s.dirty, s.recalled = true, true, len(file.Records)
	if file.Saved.Before(s.stale) { // the clock may have been set back
		s.stale = file.Saved
	}
	for _, r := range file.Records {
		if s.entries[r.ID] != nil {
			continue
		}
		asOf := s.stale
		if !r.Held.IsZero() && r.Held.Before(asOf) {
			asOf = r.Held
		}
		s.entries[r.ID] = &entry{record: r.Record, asOf: asOf}
		if s.reading {
			s.unseen[r.ID] = struct{}{}
		}
	}
	s.publishNow()
	s.load()
}

// keepSaved reads the file, and writes it after changes until ctx ends.
func (s *service) keepSaved(ctx context.Context) {
	s.recall(ctx)
	for ended := false; !ended; {
		timer := time.NewTimer(backoff.Jitter(saveInterval, 0.1))
		select {
		case <-s.disk.changed:
			_ = backoff.Sleep(ctx, saveDelay) // the end of ctx is noticed below
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		ended = ctx.Err() != nil
		s.save(ctx)
	}
}

// save writes the file, if the registry has ever answered.
func (s *service) save(ctx context.Context) {
	file := s.saved()
	if file == nil {
		return
	}
	if err := s.disk.write(file); err != nil {
		s.diskFailed(ctx, fmt.Errorf("%s was not written: %w", s.disk.path, err))
		return
	}
	s.disk.last = ""
}

// saved returns the content of the file; nil if the registry has never answered, or has no record of the service.
func (s *service) saved() *savedFile {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.answered || !s.known || s.reading {
		return nil
	}
	file := &savedFile{Format: savedFormat, Saved: s.stale, Records: []savedRecord{}}
	if s.stale.IsZero() {
		file.Saved = time.Now()
	}
	for _, e := range s.entries {
		file.Records = append(file.Records, savedRecord{Record: e.record, Held: e.held})
	}
	return file
}

// diskFailed reports a problem with the file, once.
func (s *service) diskFailed(ctx context.Context, err error) {
	if text := err.Error(); text != s.disk.last {
		s.disk.last = text
		s.resolver.obs.diskFailed(ctx, s.name, err)
	}
}
