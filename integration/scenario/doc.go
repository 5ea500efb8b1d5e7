// Package scenario has the tests of promises made to users: the built binary, on hosts behind real NATs, with a
// foreign DHT. Each test says which promise it guards. Those named TestKernel run in the VM ("make test-kernel"), the
// others natively with embedded WireGuard ("make test-integration"); most are one scenario run both ways.
//
// The binary is CREDANT_BIN, or is built once when that is not set. Needs root. Start reading at world_test.go.
package scenario
