// Package clitest is what the tests of this repository's commands have in
// common: commands for scripts (testscript) that run a program as people do.
package clitest
