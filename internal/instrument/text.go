package instrument

import (
	"fmt"

	"github.com/go-os/go-os/internal/sanitize"
)

// The most bytes of a text that a span or an event carries.
const (
	maxMessage = 4096
	maxStack   = 64 << 10
)

// Message returns s as a status message or an exception.message may carry it: valid UTF-8 of at most 4096 bytes.
func Message(s string) string { return sanitize.Text(s, maxMessage) }

// ErrorMessage returns the text of err, as Message does. If its methods panic, as those of a nil pointer in an error may, it
// returns the name of its type: telemetry must not fail where the program itself would not have looked. err must not be nil.
func ErrorMessage(err error) string {
	text, ok := errorText(err)
	if !ok {
		return fmt.Sprintf("%T", err)
	}
	return Message(text)
}

// errorText reports false if one of the methods panics that the SDK calls on an error.
func errorText(err error) (text string, ok bool) {
	defer func() {
		if recover() != nil {
			text, ok = "", false
		}
	}()
	if typed, is := err.(interface{ ErrorType() string }); is {
		typed.ErrorType()
	}
	return err.Error(), true
}
