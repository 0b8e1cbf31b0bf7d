package testenv

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
)

// Replace kills the server and starts another one without data on the same ports. The new server is a separate cluster, as after a
// documented restore, and begins at revision 1.
func (e *EtcdHandle) Replace() {
	e.t.Helper()
	e.Kill()
	err := errors.Join(os.RemoveAll(e.dataDir()), os.WriteFile(Place{Dir: e.Dir()}.File(tokenFile), []byte(rand.Text()), 0o600))
	if err != nil {
		e.t.Fatal(err)
	}
	e.Restart()
}

// Backup stops the server, copies its data, and restarts it. The returned function kills the server, replaces its data by the copy, and
// restarts it: the same cluster at an earlier revision.
func (e *EtcdHandle) Backup() (restore func()) {
	e.t.Helper()
	copied := e.t.TempDir()
	e.Stop()
	if err := os.CopyFS(copied, os.DirFS(e.dataDir())); err != nil {
		e.t.Fatal(err)
	}
	e.Restart()
	return func() {
		e.t.Helper()
		e.Kill()
		if err := errors.Join(os.RemoveAll(e.dataDir()), os.CopyFS(e.dataDir(), os.DirFS(copied))); err != nil {
			e.t.Fatal(err)
		}
		e.Restart()
	}
}

func (e *EtcdHandle) dataDir() string { return Place{Dir: e.Dir()}.File("data") }

// tokenFile holds the token of a cluster that has replaced another one.
const tokenFile = "token"

// clusterToken returns the token from which etcd computes the ID of a new cluster.
func clusterToken(p Place) string {
	token, err := os.ReadFile(p.File(tokenFile))
	if errors.Is(err, fs.ErrNotExist) {
		return "first"
	}
	return string(token)
}
