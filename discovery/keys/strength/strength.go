// Package strength estimates how hard a passphrase is to guess.
package strength

// Bits estimates the entropy of a passphrase.
func Bits(passphrase string) float64 { return 0 }
