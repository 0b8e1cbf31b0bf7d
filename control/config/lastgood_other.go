//go:build !unix

package config

import "io/fs"

const noFollow = 0

// trusted accepts every file: its access list is not looked at.
func trusted(fs.FileInfo) error { return nil }
