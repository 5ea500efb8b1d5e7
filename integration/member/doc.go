// Package member runs the built credant on hosts of a lab, by its command line as a person would, and reads what it
// prints. Tests and the demo share it.
package member
