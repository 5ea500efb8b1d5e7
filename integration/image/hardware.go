package image

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/credant/credant/integration/lab"
	"github.com/credant/credant/integration/vm"
)

var (
	//go:embed build
	buildScript []byte
	//go:embed init.sh
	initScript []byte
	//go:embed agent.sh
	agentScript []byte
	//go:embed agent.service
	agentUnit []byte
)

// bootModules carry the guest from its RAM disk to its own disk. All else loads from there on demand.
var bootModules = []string{"virtio_pci", "virtio_blk", "crc32c_generic", "ext4", "9pnet_virtio", "9p", "virtio_console"}

// errNoDisk says that the cache holds no disk of today's making.
var errNoDisk = errors.New("no image for the machine in the cache: run integration/deps")

// findDisk returns the disk that the script build makes, which names it after itself.
func findDisk() (string, error) {
	cache, err := vm.CacheDir()
	if err != nil {
		return "", err
	}
	path := filepath.Join(cache, "image", fmt.Sprintf("%x", sha256.Sum256(buildScript))[:12], "disk")
	if _, err := os.Stat(path); err != nil {
		return "", errNoDisk
	}
	return path, nil
}

// lay writes what the guest and QEMU read at the start.
func (m *Machine) lay(c Config, kernel vm.Kernel) error {
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return fmt.Errorf("find busybox: %w (run integration/deps)", err)
	}
	initrd, err := os.Create(m.path("initrd"))
	if err != nil {
		return fmt.Errorf("create RAM disk: %w", err)
	}
	defer initrd.Close()
	if err := vm.WriteInitramfs(initrd, kernel, busybox, bootModules, initScript); err != nil {
		return err
	}
	if err := os.Mkdir(m.path("share"), 0o755); err != nil {
		return fmt.Errorf("make shared directory: %w", err)
	}
	files := map[string][]byte{"share/agent.sh": agentScript, "share/agent.service": agentUnit}
	if c.LAN != nil && len(c.Seed) == 0 {
		address := LANAddress(c.LAN)
		files["share/lan.network"] = fmt.Appendf(nil, "[Match]\nName=eth0\n[Network]\nAddress=%s\nGateway=%s\n",
			address, address.Masked().Addr().Next())
	}
	for name, value := range c.Credentials {
		files["credential."+name] = fmt.Appendf(nil, "io.systemd.credential.binary:%s=%s", name, base64.StdEncoding.EncodeToString([]byte(value)))
	}
	for name, content := range files {
		if err := os.WriteFile(m.path(name), content, 0o644); err != nil {
			return fmt.Errorf("write file for the machine: %w", err)
		}
	}
	for name, from := range c.Files {
		if err := copyFile(from, m.path("share", name)); err != nil {
			return err
		}
	}
	if len(c.Seed) > 0 {
		return m.writeSeed(c.Seed)
	}
	return nil
}

// writeSeed makes the disk that cloud-init's NoCloud data source looks for: FAT, with the label CIDATA.
func (m *Machine) writeSeed(files map[string]string) error {
	disk := m.path("seed")
	run := func(args ...string) error {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("make seed disk: %s: %w: %s (integration/deps installs it)", args[0], err, out)
		}
		return nil
	}
	if err := run("mkfs.vfat", "-C", "-n", "CIDATA", disk, "1024"); err != nil {
		return err
	}
	for name, content := range files {
		path := m.path("seed-file")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
		if err := run("mcopy", "-i", disk, path, "::"+name); err != nil {
			return err
		}
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("remove %s: %w", name, err)
		}
	}
	return nil
}

// tap is the host's end of eth0.
const tap = "image0"

// LANAddress is the address of eth0 where no seed gives it another, with the prefix of the LAN, whose router has the
// first address.
func LANAddress(r *lab.Router) netip.Prefix {
	b := r.LAN.Masked().Addr().As4()
	b[3] += 200
	return netip.PrefixFrom(netip.AddrFrom4(b), r.LAN.Bits())
}

// plug returns the node in which QEMU runs: the router, with a tap on its LAN, or one without any network.
func (m *Machine) plug(ctx context.Context, c Config) (*lab.Node, error) {
	if c.LAN == nil {
		m.own = lab.New()
		host := m.own.Host("machine")
		if err := m.own.Build(); err != nil {
			return nil, err
		}
		return host.Node, nil
	}
	for _, args := range []string{
		"ip tuntap add dev " + tap + " mode tap",
		"ip link set dev " + tap + " master lan up",
	} {
		r, err := c.LAN.Run(ctx, strings.Fields(args)...)
		if err == nil && r.Code != 0 {
			err = errors.New(r.Output)
		}
		if err != nil {
			return nil, fmt.Errorf("plug machine into %s: %w", c.LAN.Name, err)
		}
	}
	return c.LAN.Node, nil
}

// arguments are QEMU's.
func (m *Machine) arguments(c Config, disk string, kernel vm.Kernel) []string {
	line := []string{
		"console=ttyS0", vm.Emulated, "net.ifnames=0",
		"systemd.show_status=error", "systemd.mask=serial-getty@ttyS0.service",
	}
	if len(c.Seed) == 0 {
		line = append(line, "cloud-init=disabled", "systemd.mask=systemd-networkd-wait-online.service")
	}
	memory, cpus := c.Memory, c.CPUs
	if memory == 0 {
		memory = 1024
	}
	if cpus == 0 {
		cpus = 1
	}
	args := append(vm.Processor(cpus),
		"-m", strconv.Itoa(memory),
		"-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio",
		"-kernel", filepath.Join(kernel.Dir, "vmlinuz"), "-initrd", m.path("initrd"), "-append", strings.Join(line, " "),
		"-device", "virtio-serial-pci", "-device", "virtio-rng-pci",
		"-chardev", "socket,id=channel,server=on,wait=off,path="+m.path("channel"),
		"-device", "virtserialport,chardev=channel,nr=1",
		// The disk is nobody's to change: what the guest writes is kept aside, for as long as QEMU runs.
		"-drive", "format=raw,if=virtio,snapshot=on,file="+disk,
	)
	if len(c.Seed) > 0 {
		args = append(args, "-drive", "format=raw,if=virtio,readonly=on,file="+m.path("seed"))
	}
	share := func(tag, path, options string) {
		args = append(args,
			"-fsdev", "local,id="+tag+",path="+path+",security_model=none,multidevs=remap"+options,
			"-device", "virtio-9p-pci,fsdev="+tag+",mount_tag="+tag)
	}
	share("image", m.path("share"), "")
	share("modules", kernel.Dir, ",readonly=on")
	if c.LAN != nil {
		args = append(args, "-netdev", "tap,id=lan,script=no,downscript=no,ifname="+tap,
			"-device", "virtio-net-pci,netdev=lan,romfile=,mac=52:54:00:12:34:56")
	}
	for name := range c.Credentials {
		args = append(args, "-smbios", "type=11,path="+m.path("credential."+name))
	}
	if !c.Clock.IsZero() {
		args = append(args, "-rtc", "base="+c.Clock.UTC().Format("2006-01-02T15:04:05"))
	}
	return args
}
