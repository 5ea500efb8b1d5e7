// Package vm runs one command under Debian's stock kernel, in QEMU, on this machine's own files.
//
// The guest sees the host's whole file system read-only, with a RAM overlay on top, so host binaries run as they are
// and nothing they write survives, but for what they put in the results directory, which is shared both ways under
// its host path. Modules load on demand (modprobe works, so do aliases: "ip link add type wireguard" is enough).
// Standard output, error and the exit code come out; when the context ends QEMU is killed by its pid. There is no
// network but the loopback. No KVM: emulation takes about 6 s to the command, and everything in it runs five to
// fifteen times slower. Compare two things inside one guest; absolute times mean little. Keep packet rates at 200/s.
// A guest that hangs is booted once more, loudly; a job that fails is not run again.
//
// From a shell:
//
//	integration/deps                                   (once: QEMU, busybox, the kernel in the cache)
//	go run ./integration/vm/cmd/vmrun -- uname -r
//	go run ./integration/vm/cmd/vmrun -timeout 3m -results /tmp/out -- sh -c 'ip link add wg0 type wireguard && ip link'
//	go test -c -o /tmp/t ./wgsetup && go run ./integration/vm/cmd/vmrun -- /tmp/t -test.v
//
// The command runs as root in the caller's directory and environment, with CREDANT_VM=1 and, if given,
// CREDANT_VM_RESULTS. The guest's clock may be set: it is its own.
//
// Needs root, since QEMU reads the whole host; amd64 only. Each Run is on its own; two at once share two cores.
package vm
