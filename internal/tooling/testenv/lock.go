package testenv

import (
	"context"
	"fmt"
	"os"
	"time"
)

// lock takes the lock file that guards one build across processes: several test binaries run at once and want the same program. It waits
// until ctx ends.
func (f *Finder) lock(ctx context.Context, name, path string) (unlock func(), err error) {
	unlock, err = tryLock(path)
	if err != nil {
		return nil, fmt.Errorf("lock of the build of %s: %w", name, err)
	}
	if unlock != nil {
		return unlock, nil
	}
	done := f.report("waiting for another process that builds " + name)
	defer done()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("another process was still building %s: %w", name, context.Cause(ctx))
		case <-tick.C:
			if unlock, err = tryLock(path); unlock != nil || err != nil {
				return unlock, err
			}
		}
	}
}

// openLock opens a lock file, and creates it if it is missing.
func openLock(path string, flags int) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE|flags, 0o644)
}
