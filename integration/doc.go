// Package integration holds what tests CredAnt as a whole: vm runs a command under Debian's stock kernel, lab builds an
// internet out of network namespaces, member runs the built credant on a host of it, scenario has one test for each
// promise made to users, and demo shows the first of them to a person. Tests of any package use strict, which makes a
// skip a failure, and published, which holds formats to their vectors and pages. The rule on who may import whom is
// tested here.
package integration
