package testenv

import "os"

// Replace kills the server and starts another one without data on the same ports. The indexes of the new
// server are lower.
func (c *ConsulHandle) Replace() {
	c.t.Helper()
	c.Kill()
	if err := os.RemoveAll(Place{Dir: c.Dir()}.File("data")); err != nil {
		c.t.Fatal(err)
	}
	c.Restart()
}
