// Package pages holds the documentation to what the programs do: it runs every command that README.md and docs show, on
// the hosts that they show it on, and compares what is printed.
//
// A page is Markdown. Its comments say what a reader need not see:
//
//	<!-- scene: homes -->                        where its commands run, see scenes.go; once, at the top
//	<!-- file: nas /etc/credant/default.toml --> the next fenced block becomes that file on that host
//	<!-- run: nas some command -->               done before the next block, and not shown
//
// A fenced block of the language "console" is a session. A line that begins with HOST$ or HOST# is a command, what follows
// it is what it prints. In what is printed a line "..." stands for any lines, "..." in a line for any text, and a word
// with a digit or an address in it for any other such word; blanks count as one. A command must end with 0, unless the
// last line below it is "(exit code N)". One that asks for a passphrase is given the network's. One that goes on
// running, like a relay, is left so once it has printed what is shown.
//
// Other languages (toml, yaml, text) are for settings and drawings. Commands anywhere else fail the test, and code in a
// sentence that begins with the name of a program must be a command that it has, with flags that it has.
//
// What troubleshooting.md says that programs print stands in their source, see messages_test.go.
//
// Needs root, like the lab; TestMachine also what integration/image needs. Start at page.go, then session.go.
package pages
