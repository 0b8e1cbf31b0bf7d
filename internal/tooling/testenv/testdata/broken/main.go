// Command broken does not compile. It serves the tests of testenv.
package main

func main() { undefined() }
