// Command hello is the program in the README, word for word; a test keeps it so.
package main
