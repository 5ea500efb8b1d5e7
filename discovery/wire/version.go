package wire

const (
	// Version is in the first byte of all that this program sends before it
	// knows better: the lowest version that it supports, so that a node of any
	// age can read a hello.
	Version = 1
	// MaxVersion is the highest version that this program supports; hellos and
	// records offer it.
	MaxVersion = 1
)

// Negotiate is the version that two nodes speak once each knows what the other
// offers: the lower of both. An offer of 0 is one of version 1.
func Negotiate(a, b uint8) uint8 {
	return max(min(a, b), 1)
}
