// Package nft keeps one nftables table for as long as its process lives.
//
// Where the kernel has owner tables (Linux 5.12), the table is one: it survives
// "nft flush ruleset" and vanishes with the process. Elsewhere Run notices that
// somebody removed it and puts it back, and the next Open of its name clears
// away what a killed process left.
//
// A lasting table is nobody's, outlives the process and tells the next one what
// its maps were.
//
// A table's chains are always changed as a whole, in one transaction. What
// belongs into them is for the caller to say, in the words of rules.go.
//
// It takes CAP_NET_ADMIN. A Table's methods may be called at once from several
// goroutines. Start reading at Table.
package nft
