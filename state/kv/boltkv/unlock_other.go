//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package boltkv

import "os"

// unlock does nothing: here a lock ends when its file is closed.
func unlock(*os.File) {}
