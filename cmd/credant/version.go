package main

import (
	"fmt"
	"runtime"

	"github.com/credant/credant/cmd/internal/cli"
	"github.com/credant/credant/discovery/wire"
)

// version is stamped by the build: -ldflags "-X main.version=1.2.3".
var version string

func versionLine() string {
	return fmt.Sprintf("credant %s (messages version %d, %s, %s/%s)", cli.Version(version), wire.Version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
