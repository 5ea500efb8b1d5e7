package lab

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pion/stun/v2"
	"golang.org/x/sys/unix"
)

// ping tells whether an echo comes back. One that is expected gets more time: a fresh link may swallow the first.
func ping(t *testing.T, from *Host, to netip.Addr, expected bool) bool {
	t.Helper()
	wait := "1"
	if expected {
		wait = "60" // with -c 1 and -w, ping repeats until the first answer
	}
	result, err := from.Run(within(t, 15*time.Second), "ping", "-n", "-c", "1", "-w", wait, to.String())
	if err != nil {
		t.Fatal(err)
	}
	if result.Code > 1 {
		t.Fatalf("ping: exit code %d: %s", result.Code, result.Output)
	}
	return result.Code == 0
}

func TestAddressesRoutesAndFirewalls(t *testing.T) {
	internet := New()
	home := internet.NAT("home", PortRestricted)
	home.IPv6 = true
	alice, bob := home.Host("alice"), home.Host("bob")
	server, closed := internet.Host("server"), internet.Host("closed")
	closed.Firewall = true
	server.Addresses = 3
	build(t, internet)

	for _, c := range []struct {
		name     string
		from     *Host
		to       netip.Addr
		wantPing bool
	}{
		{"out by NAT", alice, server.IPv4()[0], true},
		{"out by IPv6", alice, server.IPv6()[0], true},
		{"to a further address", alice, server.IPv4()[2], true},
		{"to a further IPv6 address", alice, server.IPv6()[2], true},
		{"within the LAN", alice, bob.IPv4()[0], true},
		{"within the LAN by IPv6", alice, bob.IPv6()[0], true},
		{"in by the router's address", server, home.PublicIPv4(), false},
		{"in by IPv6, which is firewalled", server, alice.IPv6()[0], false},
		{"in to a private address", server, alice.IPv4()[0], false},
		{"a host firewall lets echo in", server, closed.IPv4()[0], true},
		{"and by IPv6", server, closed.IPv6()[0], true},
	} {
		if got := ping(t, c.from, c.to, c.wantPing); got != c.wantPing {
			t.Errorf("%s: echo from %s to %v: %v, want %v", c.name, c.from.Name, c.to, got, c.wantPing)
		}
	}

	// The host firewall drops unasked UDP, and lets answers in.
	at := netip.AddrPortFrom(closed.IPv4()[0], 5000)
	inside, err := closed.ListenUDP(at)
	if err != nil {
		t.Fatal(err)
	}
	defer inside.Close()
	outside, err := server.ListenUDP(netip.AddrPortFrom(server.IPv4()[0], 5000))
	if err != nil {
		t.Fatal(err)
	}
	defer outside.Close()
	send := func(wait time.Duration) bool {
		if _, err := outside.WriteToUDPAddrPort([]byte("x"), at); err != nil {
			t.Fatal(err)
		}
		_, ok := receive(t, inside, "x", wait)
		return ok
	}
	if send(100 * time.Millisecond) {
		t.Error("unasked UDP passed the host firewall")
	}
	if _, err := inside.WriteToUDPAddrPort([]byte("y"), netip.AddrPortFrom(server.IPv4()[0], 5000)); err != nil {
		t.Fatal(err)
	}
	if !send(patience) {
		t.Error("an answer did not pass the host firewall")
	}
}

func TestUplinkCutRestoreAndAddressChange(t *testing.T) {
	internet := New()
	home := internet.NAT("home", PortRestricted.HidePort())
	home.IPv6 = true
	alice, bob := home.Host("alice"), home.Host("bob")
	server := internet.Host("server")
	server.Addresses = 2
	build(t, internet)
	reachable := func(when string, want bool) {
		t.Helper()
		for _, to := range []netip.Addr{server.IPv4()[0], server.IPv6()[0]} {
			if got := ping(t, alice, to, want); got != want {
				t.Errorf("%s: echo to %v: %v, want %v", when, to, got, want)
			}
		}
		if !ping(t, alice, bob.IPv4()[0], true) {
			t.Errorf("%s: no echo within the LAN", when)
		}
	}
	must(t, home.Uplink.Cut())
	reachable("cut", false)
	must(t, home.Uplink.Restore())
	reachable("restored", true)

	p := newProber(t, server)
	conn := p.socket(alice, 40000)
	before, address := p.mapped(conn, 0, 0), home.PublicIPv4()
	must(t, home.ChangeAddress())
	reachable("renumbered", true)
	after := p.mapped(conn, 0, 0)
	if before.Addr() != address || after.Addr() != home.PublicIPv4() || after.Addr() == address {
		t.Errorf("mapped to %v before the change, %v after; the router had %v and has %v", before, after, address, home.PublicIPv4())
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestFilesArePrivate(t *testing.T) {
	internet := New()
	a, b := internet.Host("a"), internet.Host("b")
	build(t, internet)
	for _, dir := range []string{"/run/wireguard", "/run/credant", "/var/lib/credant", "/etc/credant"} {
		name := filepath.Join(dir, "lab-test-"+strconv.Itoa(os.Getpid()))
		must(t, a.Do(func() error {
			return errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(name, nil, 0o644))
		}))
		isThere := func() error { _, err := os.Stat(name); return err }
		if a.Do(isThere) != nil || b.Do(isThere) == nil || isThere() == nil {
			t.Errorf("%s is not the node's own", dir)
		}
	}
	read := func(n *Host, name string) (content string) {
		must(t, n.Do(func() error {
			b, err := os.ReadFile(name)
			content = string(b)
			return err
		}))
		return content
	}
	if read(a, "/etc/machine-id") == read(b, "/etc/machine-id") {
		t.Error("two nodes have one machine id")
	}
	must(t, a.Do(func() error { return os.WriteFile("/etc/hosts", []byte("5.0.0.1 x\n"), 0o644) }))
	if got := read(a, "/etc/hosts"); got != "5.0.0.1 x\n" {
		t.Errorf("/etc/hosts of the node: %q", got)
	}
	if strings.Contains(read(b, "/etc/hosts"), "5.0.0.1 x") {
		t.Error("two nodes share /etc/hosts")
	}
	must(t, a.Do(func() error { return os.WriteFile("/etc/hosts.new", nil, 0o644) }))
	if err := a.Do(func() error { return os.Rename("/etc/hosts.new", "/etc/hosts") }); !errors.Is(err, syscall.EBUSY) {
		t.Errorf("renaming over /etc/hosts: %v, want %v", err, syscall.EBUSY)
	}
}

func TestProgram(t *testing.T) {
	internet := New()
	host := internet.Host("host")
	build(t, internet)
	ctx := within(t, 10*time.Second)

	got, err := host.RunProgram(ctx, Program{
		Args: []string{"sh", "-c", `pwd; cat; echo "$X" >&2; ip -br address show dev eth0 | wc -l; exit 3`},
		Env:  []string{"X=y"}, Stdin: strings.NewReader("in\n"),
	})
	must(t, err)
	dir, _ := os.Getwd()
	if diff := cmp.Diff(dir+"\nin\n1\n", got.Stdout); diff != "" || got.Code != 3 || !strings.Contains(got.Output, "y\n") {
		t.Errorf("code %d, output %q; standard output (-want +got):\n%s", got.Code, got.Output, diff)
	}

	p, err := host.Start(Program{Args: []string{"sh", "-c", "trap 'echo bye; exit 4' TERM; echo up; while :; do sleep 0.05; done"}})
	must(t, err)
	must(t, p.WaitOutput(ctx, "up"))
	must(t, p.Signal(syscall.SIGTERM))
	if code, err := p.Wait(ctx); code != 4 || err != nil || p.Output() != "up\nbye\n" {
		t.Errorf("code %d, %v, output %q", code, err, p.Output())
	}
	if err := p.WaitOutput(ctx, "never"); err == nil {
		t.Error("waited for output that cannot come")
	}
}

func TestCloseEndsWhatWentToTheBackground(t *testing.T) {
	internet := New()
	host := internet.Host("host")
	build(t, internet)
	result, err := host.Run(within(t, 10*time.Second), "sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 & echo $!")
	must(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(result.Stdout))
	must(t, err)
	if syscall.Kill(pid, 0) != nil {
		t.Fatal("the program in the background is not there")
	}
	must(t, internet.Close())
	waitGone(t, pid)
}

// A lab whose process was killed leaves nothing but programs in the background, and the next Build ends those.
func TestCrashLeavesNothing(t *testing.T) {
	const child = "CREDANT_LAB_TEST_CHILD"
	if os.Getenv(child) != "" {
		internet := New()
		host := internet.Host("host")
		build(t, internet)
		p, err := host.Start(Program{Args: []string{"sleep", "1000"}})
		must(t, err)
		result, err := host.Run(t.Context(), "sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 & echo $!")
		must(t, err)
		must(t, os.WriteFile(os.Getenv(child), []byte(strconv.Itoa(p.PID())+" "+strings.TrimSpace(result.Stdout)), 0o600))
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
	pids := filepath.Join(t.TempDir(), "pids")
	cmd := exec.Command(os.Args[0], "-test.run", "^TestCrashLeavesNothing$")
	cmd.Env = append(os.Environ(), child+"="+pids)
	out, _ := cmd.CombinedOutput()
	written, err := os.ReadFile(pids)
	if err != nil {
		t.Fatalf("the child did not get so far: %v\n%s", err, out)
	}
	build(t, New())
	for word := range strings.FieldsSeq(string(written)) {
		pid, err := strconv.Atoi(word)
		must(t, err)
		waitGone(t, pid)
	}
}

func waitGone(t *testing.T, pid int) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		// One that ended but whose parent has not asked for it yet, a zombie, has no command line.
		if line, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline"); err != nil || len(line) == 0 {
			return
		}
	}
	t.Errorf("process %d is still there", pid)
}

func TestCapture(t *testing.T) {
	internet := New()
	home := internet.NAT("home", PortRestricted)
	alice, server := home.Host("alice"), internet.Host("server")
	build(t, internet)
	capture, err := home.Capture("wan")
	must(t, err)
	to := netip.AddrPortFrom(server.IPv4()[0], 9)
	conn, err := alice.ListenUDP(netip.AddrPortFrom(netip.IPv4Unspecified(), 4000))
	must(t, err)
	defer conn.Close()
	_, err = conn.WriteToUDPAddrPort([]byte("discard"), to)
	must(t, err)
	if !ping(t, alice, server.IPv4()[0], true) {
		t.Error("no echo")
	}
	var got []Packet
	for _, p := range capture.Stop() {
		if p.Protocol == unix.IPPROTO_UDP || p.Protocol == unix.IPPROTO_ICMP {
			p.Time = time.Time{}
			if p.Protocol == unix.IPPROTO_ICMP {
				p.Payload = p.Payload[:1] // its type
			}
			got = append(got, p)
		}
	}
	inner := home.PublicIPv4()
	want := []Packet{
		{Outgoing: true, Protocol: unix.IPPROTO_UDP, Src: netip.AddrPortFrom(inner, 4000), Dst: to, Payload: []byte("discard")},
		{Protocol: unix.IPPROTO_ICMP, Src: netip.AddrPortFrom(to.Addr(), 0), Dst: netip.AddrPortFrom(inner, 0), Payload: []byte{3}},
		{Outgoing: true, Protocol: unix.IPPROTO_ICMP, Src: netip.AddrPortFrom(inner, 0), Dst: netip.AddrPortFrom(to.Addr(), 0), Payload: []byte{8}},
		{Protocol: unix.IPPROTO_ICMP, Src: netip.AddrPortFrom(to.Addr(), 0), Dst: netip.AddrPortFrom(inner, 0), Payload: []byte{0}},
	}
	// What comes by way of another processor may be overtaken, and an echo that is late is asked for again.
	for _, all := range [][]Packet{want, got} {
		slices.SortFunc(all, func(a, b Packet) int { return strings.Compare(a.String(), b.String()) })
	}
	got = slices.CompactFunc(got, func(a, b Packet) bool { return cmp.Equal(a, b, sameAddr) })
	if diff := cmp.Diff(want, got, sameAddr); diff != "" {
		t.Errorf("packets (-want +got):\n%s", diff)
	}
}

var sameAddr = cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })

func TestSTUNServer(t *testing.T) {
	internet := New()
	host, client := internet.Host("stun"), internet.Host("client")
	host.Addresses = 2
	build(t, internet)
	server, err := host.StartSTUN()
	must(t, err)
	defer server.Close()
	for _, c := range []struct {
		change byte
		want   string // where the answer comes from
	}{
		{0, server.Addr[0].String()},
		{2, netip.AddrPortFrom(host.IPv4()[0], STUNPort+1).String()},
		{4, netip.AddrPortFrom(host.IPv4()[1], STUNPort).String()},
		{6, netip.AddrPortFrom(host.IPv4()[1], STUNPort+1).String()},
	} {
		conn, err := client.ListenUDP(netip.AddrPortFrom(client.IPv4()[0], 6000))
		must(t, err)
		request := stun.MustBuild(stun.TransactionID, stun.BindingRequest,
			stun.RawAttribute{Type: stun.AttrChangeRequest, Value: []byte{0, 0, 0, c.change}})
		_, err = conn.WriteToUDPAddrPort(request.Raw, server.Addr[0])
		must(t, err)
		must(t, conn.SetReadDeadline(time.Now().Add(patience)))
		buf := make([]byte, 1500)
		size, from, err := conn.ReadFromUDPAddrPort(buf)
		must(t, err)
		reply := &stun.Message{Raw: buf[:size]}
		must(t, reply.Decode())
		var mapped stun.XORMappedAddress
		var other stun.OtherAddress
		must(t, mapped.GetFrom(reply))
		must(t, other.GetFrom(reply))
		if from.String() != c.want || mapped.String() != conn.LocalAddr().String() || reply.TransactionID != request.TransactionID {
			t.Errorf("change %d: answered from %v, want %s; mapped %v", c.change, from, c.want, mapped)
		}
		if want := net.JoinHostPort(host.IPv4()[1].String(), strconv.Itoa(STUNPort+1)); c.change == 0 && other.String() != want {
			t.Errorf("other address %v, want %s", other, want)
		}
		must(t, conn.Close())
	}
}

// A packet takes as long as was asked for, in either family, and none is lost or overtaken on the way.
func TestDelay(t *testing.T) {
	internet := New()
	internet.Delay = 30 * time.Millisecond
	a, b := internet.NAT("home", PortRestricted).Host("a"), internet.Host("b")
	c := internet.Host("c")
	build(t, internet)
	for _, ends := range []struct {
		from *Host
		to   netip.Addr
	}{{a, b.IPv4()[0]}, {c, b.IPv6()[0]}} {
		began := time.Now()
		result, err := ends.from.Run(within(t, 10*time.Second), "ping", "-c", "1", "-W", "60", ends.to.String())
		must(t, err)
		if took := time.Since(began); result.Code != 0 || took < 2*internet.Delay {
			t.Errorf("ping of %v after %v: exit code %d: %s", ends.to, took, result.Code, result.Output)
		}
	}
	stream, err := StartStream(c.Node, c.IPv4()[0], b.Node, b.IPv4()[0], 1000)
	must(t, err)
	time.Sleep(300 * time.Millisecond)
	sent, gaps, err := stream.Stop()
	must(t, err)
	if sent == 0 || len(gaps) > 0 {
		t.Errorf("%d sent, lost %v", sent, gaps)
	}
}
