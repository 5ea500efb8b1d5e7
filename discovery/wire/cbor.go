package wire

import "github.com/credant/credant/discovery/wire/codec"

// maxNesting is how deep the whole encoding of a message may be nested.
const maxNesting = 6

var decoder = codec.NewDecoder(maxNesting)
