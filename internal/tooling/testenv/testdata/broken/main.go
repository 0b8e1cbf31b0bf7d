// Command broken does not compile: it is for the tests of testenv.
package main

func main() { undefined() }
