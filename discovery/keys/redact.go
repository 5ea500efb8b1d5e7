package keys

import (
	"fmt"
	"io"
	"log/slog"
)

// redacted is embedded by every type that holds a secret: whatever prints,
// logs or marshals such a value gets the same word. There is no MarshalText on
// purpose: slog would prefer it.
type redacted struct{}

const redaction = "[redacted]"

// Format implements fmt.Formatter, so that no verb reaches the fields.
func (redacted) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, redaction) }

// String returns the word that stands for a secret.
func (redacted) String() string { return redaction }

// LogValue implements slog.LogValuer.
func (redacted) LogValue() slog.Value { return slog.StringValue(redaction) }

// MarshalJSON implements json.Marshaler.
func (redacted) MarshalJSON() ([]byte, error) { return []byte(`"` + redaction + `"`), nil }
