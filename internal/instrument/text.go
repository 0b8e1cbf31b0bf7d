package instrument

import (
	"fmt"

	"github.com/go-os/go-os/internal/sanitize"
)

// The maximum size, in bytes, of a text on a span or an event.
const (
	maxMessage = 4096
	maxStack   = 64 << 10
)

// Message returns s in the form of a status message or an exception.message: valid UTF-8 of at most 4096 bytes.
func Message(s string) string { return sanitize.Text(s, maxMessage) }

// ErrorMessage returns the text of err, as Message does. If the methods of err panic, such as those of a nil pointer, it returns the name
// of its type: telemetry must not fail where the program itself would not have looked. err must not be nil.
func ErrorMessage(err error) string {
	text, ok := errorText(err)
	if !ok {
		return fmt.Sprintf("%T", err)
	}
	return Message(text)
}

// errorText returns the text of err. It reports false if one of the methods that the SDK calls on an error panics.
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
