package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
)

// spk has the Synology packages written by their own command: it is in the
// module of the programs.
func (r *release) spk(ctx context.Context) error {
	if !slices.Contains(r.formats, "spk") {
		return nil
	}
	for _, arch := range r.arches {
		out, err := r.output(ctx, "go", "run", "./deploy/spk/make",
			"-version", r.version.number, "-build", r.version.build(), "-arch", arch,
			"-programs", r.program("", arch), "-time", strconv.FormatInt(r.time.Unix(), 10), "-out", r.out)
		if err != nil {
			return err
		}
		fmt.Fprintln(r.log, out)
	}
	return nil
}
