package wgsetup

import (
	"errors"
	"io/fs"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Advice returns what a person has to do on this host before Forward and Exit
// can work: a sentence each, with the command. It is of the last Apply and of
// repairs since.
func (d *Device) Advice() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append(slices.Clone(d.hosting.advice), d.openings.given()...)
}

// advise says what went wrong, and logs it once.
func (s *hostSide) advise(d *Device, err error) {
	var advice []string
	want := d.target.desired
	if err != nil {
		advice = append(advice, explain(want, err))
	}
	for _, a := range advice {
		if !slices.Contains(s.advice, a) {
			d.log.Warn("not all of the host is set up", "iface", d.target.iface, "err", a)
		}
	}
	s.advice = advice
}

func explain(want Desired, err error) string {
	text := oneLine(err)
	var what, then string
	switch {
	case want.Forward != nil && want.Exit != nil:
		what = "forwards nothing for the network, and the exit node may not answer"
	case want.Forward != nil:
		what = "forwards nothing for the network"
	case want.Exit != nil:
		what = "may not hear the exit node"
	default:
		what = "still has settings of an earlier start"
	}
	switch {
	case errors.Is(err, unix.EROFS), errors.Is(err, fs.ErrPermission):
		then = "let this program change the setting, or set it yourself: sysctl -w " + wantedSettings(want) +
			" (for a container, --sysctl does it)"
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOENT), errors.Is(err, unix.EPROTONOSUPPORT):
		then = "the kernel lacks a part of nftables: modprobe -a nf_tables nft_chain_nat nft_masq nft_ct nft_fib_inet"
	default:
		then = "mend that, or look into the log: this is tried again"
	}
	return "this host " + what + " (" + text + "): " + then
}

func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

func wantedSettings(want Desired) string {
	var words []string
	v4, v6 := forwards(want.Forward)
	for path, wanted := range map[string]bool{forwardSetting4: v4, forwardSetting6: v6, markSetting: want.Exit != nil && want.Exit.V4} {
		if wanted {
			words = append(words, setting{path: path}.name()+"=1")
		}
	}
	slices.Sort(words)
	return strings.Join(words, " ")
}
