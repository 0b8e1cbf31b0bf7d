// Command hello is the program in the README. A test checks that the two are identical.
package main
