package main

// overrides are what lintian is told of each package, with the reason.
var overrides = map[string]string{
	"credant": `# One program without libraries is what runs the same on a NAS, a router and a server.
credant: statically-linked-binary
# Nobody asked Debian for it yet.
credant: initial-upload-closes-no-bugs *
# What debhelper would write knows no units with instances.
credant: maintainer-script-calls-systemctl *
`,
	"credant-relay": `# One program without libraries is what runs the same on every host.
credant-relay: statically-linked-binary
# Nobody asked Debian for it yet.
credant-relay: initial-upload-closes-no-bugs *
# One script for all formats; it is never started by installing it.
credant-relay: maintainer-script-calls-systemctl *
`,
}
