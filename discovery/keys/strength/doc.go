// Package strength estimates how many bits of guessing a passphrase is worth.
//
// It is zxcvbn's method (Wheeler, USENIX Security 2016; the entropy form of the
// first release) on zxcvbn's own word lists: a passphrase is covered by
// dictionary words, also reversed, capitalised or in l33t, keyboard walks,
// sequences, repeats and dates; the cheapest cover is the estimate, and what no
// pattern covers costs what brute force would.
//
// It departs from zxcvbn in one thing: a phrase made of words of the EFF long
// list is worth 12.9 bits a word, whatever stands between them. zxcvbn takes
// its words for English prose and its separators for entropy.
//
// The zxcvbn-go module itself keeps its tables in memory from the start of any
// program that links it (10 MB); here the lists are streamed once for each
// estimate and nothing is kept. An estimate takes some 10 ms.
package strength
