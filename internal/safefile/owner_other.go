//go:build !unix

package safefile

import "io/fs"

const noFollow = 0

// trusted accepts every file: access lists are not checked.
func trusted(fs.FileInfo) error { return nil }
