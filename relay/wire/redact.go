package wire

import (
	"fmt"
	"io"
	"log/slog"
)

const redaction = "[redacted]"

// redacted keeps the secret of a type that embeds it out of whatever prints.
type redacted struct{}

// Format implements fmt.Formatter, so that no verb prints the secret.
func (redacted) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, redaction) }

// String implements fmt.Stringer.
func (redacted) String() string { return redaction }

// LogValue implements slog.LogValuer.
func (redacted) LogValue() slog.Value { return slog.StringValue(redaction) }

// MarshalJSON implements json.Marshaler.
func (redacted) MarshalJSON() ([]byte, error) { return []byte(`"` + redaction + `"`), nil }
