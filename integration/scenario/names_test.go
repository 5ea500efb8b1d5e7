package scenario

import (
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/credant/credant/integration/lab"
)

// An answer is what dig printed.
type answer struct {
	status  string   // "NOERROR", "NXDOMAIN"
	flags   string   // " qr aa rd"
	records []string // "bob.home.internal. 30 IN A 10.7.1.2"
	soa     string   // whose SOA is in the authority section; empty: none
	tcp     bool
	all     string
}

// dig asks a server of the host's.
func (w *world) dig(h *lab.Host, server netip.AddrPort, question ...string) answer {
	w.t.Helper()
	args := []string{
		"dig", "@" + server.Addr().String(), "-p", strconv.Itoa(int(server.Port())),
		"+time=4", "+tries=3",
	}
	out := w.output(h, append(args, question...)...)
	a := answer{all: out}
	section := ""
	for line := range strings.Lines(out) {
		line = strings.Join(strings.Fields(line), " ")
		switch {
		case strings.HasPrefix(line, ";; ->>HEADER<<-"):
			_, rest, _ := strings.Cut(line, "status: ")
			a.status, _, _ = strings.Cut(rest, ",")
		case strings.HasPrefix(line, ";; flags:"):
			a.flags, _, _ = strings.Cut(strings.TrimPrefix(line, ";; flags:"), ";")
		case strings.HasPrefix(line, ";; SERVER:"):
			a.tcp = strings.HasSuffix(line, "(TCP)")
		case strings.HasPrefix(line, ";; ") && strings.HasSuffix(line, " SECTION:"):
			section = line
		case line == "" || line[0] == ';':
		case section == ";; ANSWER SECTION:":
			a.records = append(a.records, line)
		case section == ";; AUTHORITY SECTION:" && strings.Contains(line, " IN SOA "):
			a.soa, _, _ = strings.Cut(line, " ")
		}
	}
	return a
}

// is compares an answer with what is wanted: its status, whose SOA tells that there is no more, and the records.
func (a answer) is(t *testing.T, what, status, soa string, records ...string) {
	t.Helper()
	slices.Sort(a.records)
	slices.Sort(records)
	authoritative := strings.Contains(a.flags+" ", " aa ")
	if a.status != status || a.soa != soa || !slices.Equal(a.records, records) || authoritative != (status != "REFUSED") ||
		strings.Contains(a.flags+" ", " ra ") {
		t.Errorf("%s: want %s, SOA %q, records %q; got\n%s", what, status, soa, records, a.all)
	}
}

// servers are the addresses at which the node's names can be had.
func (n *node) servers() []netip.AddrPort {
	n.w.t.Helper()
	var all []netip.AddrPort
	n.w.eventually(30*time.Second, n.Host.Name+" serves names", func() bool {
		all = nil
		if names := n.status().Names; names != nil {
			for _, s := range names.Servers {
				all = append(all, netip.MustParseAddrPort(s))
			}
		}
		return len(all) > 0
	})
	return all
}

// addresses are the node's own in the overlay, by family.
func (n *node) addresses() (v4, v6 string) {
	n.w.t.Helper()
	n.w.eventually(30*time.Second, n.Host.Name+" has an address of each family", func() bool {
		v4, v6 = "", ""
		for _, s := range n.status().Self.Addresses {
			if strings.Contains(s, ":") {
				v6 = s
			} else {
				v4 = s
			}
		}
		return v4 != "" && v6 != ""
	})
	return v4, v6
}

// resolves waits until the host finds the address under the name as its programs do.
func (w *world) resolves(h *lab.Host, name, addr string) {
	w.t.Helper()
	w.eventually(30*time.Second, h.Name+" finds "+addr+" under "+name, func() bool {
		result, err := h.Run(w.within(15*time.Second), "getent", "ahosts", name)
		w.must(err)
		for line := range strings.Lines(result.Stdout) {
			if words := strings.Fields(line); len(words) > 0 && words[0] == addr {
				return true
			}
		}
		return false
	})
}

// inZone waits until the server answers with the address.
func (w *world) inZone(h *lab.Host, server netip.AddrPort, name, addr string) {
	w.t.Helper()
	kind := "A"
	if strings.Contains(addr, ":") {
		kind = "AAAA"
	}
	w.eventually(30*time.Second, name+" at "+server.String()+" is "+addr, func() bool {
		return slices.ContainsFunc(w.dig(h, server, name, kind).records, func(r string) bool { return strings.HasSuffix(r, " "+addr) })
	})
}

// useServer makes the host's C library ask the server, as a person would set it up by hand.
func (w *world) useServer(h *lab.Host, server netip.AddrPort, domain string) {
	w.t.Helper()
	w.must(h.Do(func() error {
		text := "nameserver " + server.Addr().String() + "\nsearch " + domain + "\noptions timeout:5 attempts:6\n"
		return os.WriteFile("/etc/resolv.conf", []byte(text), 0o644)
	}))
}

// Each node answers for the names of its network at its own addresses, as the RFCs want, and for nothing else; programs
// of the host find the nodes by name, by DNS and by /etc/hosts.
func TestNames(t *testing.T) {
	t.Parallel() // most of it is waiting
	w, a, b := twoOnLAN(t, "embedded")
	before := w.output(a.Host, "cat", "/etc/hosts")
	a.up("--dns", "hosts")
	b.up("--dns", "off")
	b.reach(a, 30*time.Second)
	b.command("dns", "add", "git")
	b4, b6 := b.addresses()
	a4, a6 := a.addresses()
	id := b.status().Self.ID
	var servers []netip.AddrPort
	w.eventually(30*time.Second, "alice serves names at both addresses", func() bool {
		servers = a.servers()
		return len(servers) == 2
	})
	for _, s := range servers {
		if s.Port() != 53 {
			t.Errorf("servers %v", servers)
		}
		w.inZone(a.Host, s, "git.home.internal", b4)
		w.inZone(a.Host, s, "bob.home.internal", b6)
	}

	const soa, bob = "home.internal.", "bob.home.internal."
	reverse4, reverse6 := reverseName(b4), reverseName(b6)
	zone4 := strings.SplitN(reverse4, ".", 3)[2]
	zone6 := reverse6[len(reverse6)-len("ip6.arpa.")-2*12:]
	bobA, bobAAAA := bob+" 30 IN A "+b4, bob+" 30 IN AAAA "+b6
	for _, server := range servers {
		for _, c := range []struct {
			ask, status, soa string
			records          []string
		}{
			{"bob.home.internal A", "NOERROR", "", []string{bobA}},
			{"bob.home.internal AAAA", "NOERROR", "", []string{bobAAAA}},
			{"bob.home.internal AAAA +tcp", "NOERROR", "", []string{bobAAAA}},
			{"bob.home.internal A +noedns", "NOERROR", "", []string{bobA}},
			{"bob.home.internal A +dnssec +bufsize=512 +nocookie", "NOERROR", "", []string{bobA}},
			{"BoB.HOME.internal A", "NOERROR", "", []string{"BoB.HOME.internal. 30 IN A " + b4}},
			{id + ".home.internal AAAA", "NOERROR", "", []string{id + ".home.internal. 30 IN AAAA " + b6}},
			{"git.home.internal A", "NOERROR", "", []string{"git.home.internal. 30 IN CNAME " + bob, bobA}},
			{"bob-" + id[:4] + ".home.internal A", "NOERROR", "", []string{"bob-" + id[:4] + ".home.internal. 30 IN CNAME " + bob, bobA}},
			{"alice.home.internal A", "NOERROR", "", []string{"alice.home.internal. 30 IN A " + a4}},
			{"bob.home.internal ANY +notcp", "NOERROR", "", []string{bob + ` 30 IN HINFO "RFC8482" ""`}},
			{"bob.home.internal TXT", "NOERROR", soa, nil},
			{"bob.home.internal MX +tcp", "NOERROR", soa, nil},
			{"home.internal A", "NOERROR", soa, nil},
			{"home.internal NS", "NOERROR", "", []string{"home.internal. 30 IN NS home.internal."}},
			{"nobody.home.internal A", "NXDOMAIN", soa, nil},
			{"nobody.home.internal A +tcp", "NXDOMAIN", soa, nil},
			{"www.bob.home.internal AAAA", "NXDOMAIN", soa, nil},
			{"-x " + b4, "NOERROR", "", []string{reverse4 + " 30 IN PTR " + bob}},
			{"-x " + b6, "NOERROR", "", []string{reverse6 + " 30 IN PTR " + bob}},
			{strings.Replace(reverse6, reverse6[:1], "g", 1) + " PTR", "NXDOMAIN", zone6, nil},
			{reverse6[2:] + " PTR", "NOERROR", zone6, nil},
			{zone4 + " PTR", "NOERROR", zone4, nil},
			{"example.com A", "REFUSED", "", nil},
			{"internal SOA", "REFUSED", "", nil},
			{"bob.office.internal A +tcp", "REFUSED", "", nil},
			{"-x 192.0.2.1", "REFUSED", "", nil},
			{"home.internal CH TXT", "REFUSED", "", nil},
			{"bob.home.internal A +opcode=UPDATE", "NOTIMP", "", nil},
			{"bob.home.internal A +edns=1 +noednsnegotiation", "BADVERS", "", nil},
		} {
			got := w.dig(a.Host, server, strings.Fields(c.ask)...)
			switch {
			case c.status == "NOTIMP" || c.status == "BADVERS":
				if got.status != c.status || len(got.records) != 0 {
					t.Errorf("%s: %s", c.ask, got.all)
				}
			default:
				got.is(t, c.ask, c.status, c.soa, c.records...)
			}
			if strings.HasSuffix(c.ask, "+tcp") != got.tcp {
				t.Errorf("%s: by TCP: %v", c.ask, got.tcp)
			}
		}
		// A transfer ends without records.
		if out := w.output(a.Host, "sh", "-c", "dig @"+server.Addr().String()+" home.internal AXFR +time=5 || true"); !strings.Contains(out, "Transfer failed") {
			t.Errorf("a transfer: %s", out)
		}
	}
	// The other node may look, too.
	w.dig(b.Host, servers[0], "bob.home.internal", "AAAA").is(t, "from the other node", "NOERROR", "", bobAAAA)

	// By /etc/hosts.
	for _, name := range []string{"bob.home.internal", "bob", "git.home.internal", id + ".home.internal"} {
		w.resolves(a.Host, name, b4)
		w.resolves(a.Host, name, b6)
	}
	w.output(a.Host, "ping", "-4", "-c3", "-i0.2", "-W10", "bob.home.internal")
	w.output(a.Host, "ping", "-6", "-c3", "-i0.2", "-W10", "bob")
	if got := w.output(a.Host, "getent", "hosts", b4); !strings.Contains(got, "bob.home.internal") {
		t.Errorf("name of %s: %s", b4, got)
	}

	// By DNS: the C library, both families and back, and a search domain.
	w.useServer(b.Host, b.servers()[0], "home.internal")
	for _, name := range []string{"alice.home.internal", "alice", "ALICE.home.internal"} {
		w.resolves(b.Host, name, a4)
		w.resolves(b.Host, name, a6)
	}
	w.output(b.Host, "ping", "-4", "-c3", "-i0.2", "-W10", "alice")
	if got := w.output(b.Host, "getent", "hosts", a6); !strings.Contains(got, "alice.home.internal") {
		t.Errorf("name of %s: %s", a6, got)
	}
	if result, err := b.Host.Run(w.within(60*time.Second), "getent", "ahosts", "nobody.home.internal"); err != nil || result.Code != 2 {
		t.Errorf("a name that nobody has: %v, %+v", err, result)
	}

	// As the commands show it, and without the extra name.
	shown := a.command("dns")
	for _, part := range []string{"home.internal", "bob", "git", id, b4, b6} {
		if !strings.Contains(shown, part) {
			t.Errorf("credant dns says nothing of %s:\n%s", part, shown)
		}
	}
	b.command("dns", "remove", "git")
	w.eventually(30*time.Second, "the extra name is gone", func() bool {
		return w.dig(a.Host, servers[0], "git.home.internal").status == "NXDOMAIN"
	})

	a.down()
	if after := w.output(a.Host, "cat", "/etc/hosts"); after != before {
		t.Errorf("/etc/hosts after down:\n%s", after)
	}
}

// reverseName is the name of an address below in-addr.arpa or ip6.arpa.
func reverseName(s string) string {
	addr := netip.MustParseAddr(s)
	b := addr.AsSlice()
	slices.Reverse(b)
	var name strings.Builder
	const hex = "0123456789abcdef"
	for _, x := range b {
		if addr.Is4() {
			name.WriteString(strconv.Itoa(int(x)) + ".")
			continue
		}
		name.Write([]byte{hex[x&15], '.', hex[x>>4], '.'})
	}
	if addr.Is4() {
		return name.String() + "in-addr.arpa."
	}
	return name.String() + "ip6.arpa."
}
