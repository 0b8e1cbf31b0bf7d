package testenv

import (
	"fmt"
	"os"
)

// modeVariable is the environment variable that holds the Mode.
const modeVariable = "OS_TEST_ENGINES"

// Mode says what to do about engines that are not at hand; the package comment explains each.
type Mode string

// The modes.
const (
	Auto    Mode = "auto"
	Require Mode = "require"
	Off     Mode = "off"
)

// ParseMode reads a mode; the empty string is Auto. Anything that is not a mode is an error: a misspelt "require" that
// quietly meant "auto" would let a pipeline pass without having tested anything.
func ParseMode(s string) (Mode, error) {
	switch m := Mode(s); m {
	case "":
		return Auto, nil
	case Auto, Require, Off:
		return m, nil
	default:
		return "", fmt.Errorf("%s=%q is not a mode: use auto (or leave it unset), require or off", modeVariable, s)
	}
}

// modeFromEnvironment reads the mode from OS_TEST_ENGINES.
func modeFromEnvironment() (Mode, error) { return ParseMode(os.Getenv(modeVariable)) }
