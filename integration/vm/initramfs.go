package vm

import (
	_ "embed"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// bootModules carry the guest from its RAM disk to the host's files. All else loads from there on demand.
var bootModules = []string{"virtio_pci", "9pnet_virtio", "9p", "overlay", "virtio_console"}

//go:embed init.sh
var initScript []byte

// WriteInitramfs writes a RAM disk that holds busybox, the named modules with all they need, their order in
// modules/order, and a script as its process 1.
func WriteInitramfs(w io.Writer, k Kernel, busybox string, modules []string, init []byte) error {
	files, err := k.modules(modules...)
	if err != nil {
		return err
	}
	c := &cpioWriter{w: w}
	for _, dir := range []string{"bin", "dev", "proc", "sys", "modules", "host", "ram", "root"} {
		c.dir(dir)
	}
	shell, err := os.ReadFile(busybox)
	if err != nil {
		return fmt.Errorf("read busybox: %w", err)
	}
	c.file("bin/busybox", 0o755, shell)
	c.file("init", 0o755, init)
	var order []string
	for _, file := range files {
		content, err := os.ReadFile(filepath.Join(k.Dir, file))
		if err != nil {
			return fmt.Errorf("read module: %w", err)
		}
		name := filepath.Base(file)
		order = append(order, name)
		c.file("modules/"+name, 0o644, content)
	}
	c.file("modules/order", 0o644, []byte(strings.Join(order, "\n")+"\n"))
	return c.close()
}

// cpioWriter writes the "newc" archive that the kernel unpacks (its Documentation: early-userspace/buffer-format).
// The first error sticks and is returned by close.
type cpioWriter struct {
	w     io.Writer
	inode int
	err   error
}

const (
	modeDir  = 0o040755
	modeFile = 0o100000
)

func (c *cpioWriter) dir(name string) { c.entry(name, modeDir, nil) }

func (c *cpioWriter) file(name string, mode int, content []byte) {
	c.entry(name, modeFile|mode, content)
}

func (c *cpioWriter) close() error {
	c.entry("TRAILER!!!", 0, nil)
	if c.err != nil {
		return fmt.Errorf("write RAM disk: %w", c.err)
	}
	return nil
}

func (c *cpioWriter) entry(name string, mode int, content []byte) {
	c.inode++
	header := fmt.Sprintf("070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		c.inode, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name)+1, 0, name)
	c.write([]byte(header))
	c.write(padding(len(header)))
	c.write(content)
	c.write(padding(len(content)))
}

func (c *cpioWriter) write(b []byte) {
	if c.err == nil {
		_, c.err = c.w.Write(b)
	}
}

func padding(n int) []byte { return make([]byte, -n&3) }
