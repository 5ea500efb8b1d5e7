// Package integration holds what tests CredAnt as a whole: vm runs a command under Debian's stock kernel, lab builds an
// internet out of network namespaces, member runs the built credant on a host of it, scenario has one test for each
// promise made to users, and demo shows the first of them to a person. The rule on who may import whom is tested here.
package integration
