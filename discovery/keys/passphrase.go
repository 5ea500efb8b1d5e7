package keys

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/secure/precis"

	"github.com/credant/credant/discovery/keys/internal/eff"
	"github.com/credant/credant/discovery/keys/strength"
)

// The second recommended option of RFC 9106, Section 4. It is part of the
// protocol: every member pays it, the smallest NAS as well.
const (
	argonTime    = 3
	argonMemory  = 64 * 1024 // KiB
	argonThreads = 4
)

// PassphraseWords is the number of words in a new passphrase: 77 bits.
const PassphraseWords = 6

// MinBits is the estimated entropy below which a passphrase is refused: the
// DHT's info hash lets anyone guess offline at one Argon2id a try.
const MinBits = 60

// maxPassphrase keeps a wrong file named as the passphrase file from being
// taken for one.
const maxPassphrase = 1024

// Errors of passphrases, for branching. They never hold the passphrase.
var (
	ErrPassphraseEmpty   = errors.New("passphrase is empty")
	ErrPassphraseTooLong = fmt.Errorf("passphrase is longer than %d bytes", maxPassphrase)
	ErrPassphraseText    = errors.New("passphrase holds a control character or is not UTF-8 text")
)

// NormalizePassphrase brings what a person typed, or a file held, into the one
// form that is hashed: one trailing newline (LF or CRLF) is cut, the rest goes
// through PRECIS OpaqueString (RFC 8265, Section 4.2): NFC, every space U+0020,
// control characters refused.
func NormalizePassphrase(raw []byte) ([]byte, error) {
	raw = bytes.TrimSuffix(raw, []byte("\n"))
	raw = bytes.TrimSuffix(raw, []byte("\r"))
	switch {
	case len(raw) == 0:
		return nil, ErrPassphraseEmpty
	case len(raw) > maxPassphrase:
		return nil, ErrPassphraseTooLong
	}
	if !utf8.Valid(raw) {
		return nil, ErrPassphraseText // the library would let it pass
	}
	p, err := precis.OpaqueString.Bytes(raw)
	if err != nil {
		// The library's own text names neither character nor place.
		return nil, ErrPassphraseText
	}
	return p, nil
}

// DeriveNetworkKey derives the key of a network from its passphrase, as
// NormalizePassphrase returned it, and its name. It takes 64 MiB for as long as
// it runs, so daemons call it in a short-lived child process.
func DeriveNetworkKey(passphrase []byte, network string) (NetworkKey, error) {
	if len(passphrase) == 0 {
		return NetworkKey{}, fmt.Errorf("derive network key: %w", ErrPassphraseEmpty)
	}
	if err := ValidNetworkName(network); err != nil {
		return NetworkKey{}, fmt.Errorf("derive network key: %w", err)
	}
	salt := []byte(label(network))
	return ParseNetworkKey(argon2.IDKey(passphrase, salt, argonTime, argonMemory, argonThreads, 32))
}

// EstimateBits estimates the entropy of a passphrase as typed, to be compared
// with MinBits. The word lists that it needs are in memory while it runs and no
// longer.
func EstimateBits(passphrase string) float64 { return strength.Bits(passphrase) }

// NewPassphrase returns six random words of the EFF long list, joined by '-'.
func NewPassphrase() (string, error) {
	words, err := eff.Choose(PassphraseWords)
	if err != nil {
		return "", fmt.Errorf("choose passphrase: %w", err)
	}
	return strings.Join(words, "-"), nil
}
