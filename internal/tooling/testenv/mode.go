package testenv

import (
	"fmt"
	"os"
)

// modeVariable is the environment variable that holds the Mode.
const modeVariable = "OS_TEST_ENGINES"

// Mode is the policy for engines that are not available; the package comment explains each mode.
type Mode string

// The modes.
const (
	Auto    Mode = "auto"
	Require Mode = "require"
	Off     Mode = "off"
)

// ParseMode parses a mode; the empty string is Auto. Any other text is an error: if a misspelt "require" meant "auto", a pipeline could
// pass without testing anything.
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
