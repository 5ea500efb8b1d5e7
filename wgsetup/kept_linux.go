package wgsetup

import "errors"

// SetKept makes these all the ports that are kept. Setting the same again does
// nothing; in the kernel a change takes tens of milliseconds. Kept ports outlive
// Detach and a crash of the process with the kernel backend, and end with
// Remove and Clean.
func (d *Device) SetKept(all []Kept) error { return errors.ErrUnsupported }

// Kept returns the ports that are kept, in no order that means anything: what
// SetKept set last, or what Open found with the device that it adopted.
func (d *Device) Kept() []Kept { return nil }
