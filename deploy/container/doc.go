// Package container holds the Containerfile of the relay. There is no code in
// it: its test lays out the files as an engine would, and runs the program in
// them.
package container
