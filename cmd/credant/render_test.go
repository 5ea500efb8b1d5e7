package main

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/credant/credant/control/localapi"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

var renderTime = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// base is the status of a node that is well and alone.
func base() localapi.Status {
	preserved := true
	return localapi.Status{
		Version: "1.0.0", Backend: "kernel", Network: "home",
		NetworkID:  "k5ahmxxnz7gqzyxpgwd7f2qxkg3j5c7v2kqmf3ylaq4wz5bmr2da",
		CheckWords: []string{"canyon", "lunar", "pretzel"},
		Interface:  "credant0", Port: 23456, MTU: 1420, PID: 4711,
		Prefixes: []string{"fd3a:1b2c:3d4e::/48", "10.77.0.0/16"},
		Started:  renderTime.Add(-3*time.Hour - 20*time.Minute),
		Self: localapi.Self{
			Name: "laptop", ID: "mfrggzdfmztwq2lk", PublicKey: "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=",
			Addresses: []string{"10.77.3.9", "fd3a:1b2c:3d4e:5f60:7182:93a4:b5c6:d7e8"},
			Candidates: []localapi.Candidate{
				{Type: "host", Address: "192.168.1.20:23456"},
				{Type: "host", Address: "[2001:db8:1:2:3:4:5:6]:23456"},
				{Type: "srflx", Address: "198.51.100.7:23456"},
			},
			NAT: localapi.NAT{IPv4: localapi.NATFamily{Detail: "a NAT that keeps one port for all destinations: direct paths work", Mapping: "endpoint-independent", Filtering: "address-and-port-dependent", PortPreserved: &preserved, Reflexive: []string{"198.51.100.7:23456"}}},
		},
		Peers: []localapi.Peer{},
		Sources: map[string]localapi.Source{
			"dht":    {State: "working", Nodes: 41, Detail: "polling each second"},
			"lan":    {State: "working", Detail: "on eth0, wlan0"},
			"static": {State: "off"},
			"cache":  {State: "working"},
		},
		Drops:   map[string]uint64{},
		Notices: []string{},
	}
}

func relays() []localapi.Relay {
	near, far := 3.2, 41.0
	return []localapi.Relay{
		{Address: "203.0.113.5:3478", Class: "own", State: "up", Home: true, RTTMillis: &near, Members: 3, Pairs: 1},
		{Address: "[2001:db8:77::5]:3478", Class: "member", State: "up", Home: true, RTTMillis: &far, Members: 2, Pairs: 1},
		{Address: "198.51.100.80:3478", Class: "network", State: "down", LastError: "no answer to 198.51.100.80:3478"},
		{Address: "192.0.2.17:3478", Class: "public", State: "unused"},
	}
}

func peer(name, path, endpoint string, rtt float64, reason string) localapi.Peer {
	p := localapi.Peer{
		Name: name, ID: "nbswy3dpeb3w64tm", PublicKey: "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0=",
		Addresses: []string{"10.77.18.4", "fd3a:1b2c:3d4e:aaaa:bbbb:cccc:dddd:eeee"},
		Path:      path, Endpoint: endpoint, Reason: reason, RxBytes: 1234567, TxBytes: 89,
	}
	if rtt > 0 {
		p.RTTMillis = &rtt
		at := renderTime.Add(-42 * time.Second)
		p.LastHandshake = &at
	}
	return p
}

var renderings = []struct {
	name    string
	verbose bool
	status  func() localapi.Status
}{
	{name: "alone", status: base},
	{name: "alone-everything-off", status: func() localapi.Status {
		s := base()
		s.Network = "default"
		s.Self.NAT = localapi.NAT{}
		s.Sources = map[string]localapi.Source{"dht": {State: "off"}, "lan": {State: "off"}, "static": {State: "off"}, "cache": {State: "off"}}
		return s
	}},
	{name: "alone-dht-unreachable", status: func() localapi.Status {
		s := base()
		s.Sources["dht"] = localapi.Source{State: "failing", LastError: "look up router.bittorrent.com: no such host; look up dht.transmissionbt.com: no such host"}
		s.Self.NAT = localapi.NAT{}
		s.Notices = []string{"the clock looks wrong by 3 years, so the DHT cannot be searched: set it, for example with \"timedatectl set-ntp true\""}
		return s
	}},
	{name: "few", status: func() localapi.Status {
		s := base()
		s.Peers = []localapi.Peer{
			peer("printer", "connecting", "", 0, "both NATs use another port for each destination; no relay is known"),
			peer("nas", "direct", "203.0.113.9:23000", 12.34, ""),
			peer("desk", "lan", "192.168.1.44:20112", 0.41, ""),
			peer("old-laptop", "offline", "198.51.100.200:31999", 0, "not heard for 2 h"),
			peer("phone", "relay", "203.0.113.5:20000", 31.2, "both NATs use another port for each destination"),
		}
		s.Self.Names = []string{"laptop", "laptop-mfrg", "mfrggzdfmztwq2lk"}
		s.Names = &localapi.Names{
			Domain: "home.internal", Mode: "hosts", Why: "no systemd-resolved, no resolvconf",
			Lacks: "dig, host and containers do not see them", Servers: []string{"10.77.3.9:53"},
		}
		s.Peers[4].Relay = "203.0.113.5:3478"
		s.Peers[4].Mend = "a port forwarded to UDP 23456 of this host would make it direct"
		s.Relays = relays()
		return s
	}},
	{name: "few-verbose", verbose: true, status: func() localapi.Status {
		s := base()
		s.Peers = []localapi.Peer{
			peer("nas", "direct", "203.0.113.9:23000", 12.34, ""),
			peer(strings.Repeat("long-name-", 6)+"end", "connecting", "", 0, "no answer yet"),
		}
		s.Drops = map[string]uint64{"seal": 12, "version": 3, "dht-announce": 0}
		return s
	}},
	{name: "wide", status: func() localapi.Status {
		s := base()
		s.Backend = "embedded"
		s.Self.Name = strings.Repeat("a", 63)
		s.Self.NAT.IPv4 = localapi.NATFamily{Detail: "a NAT that takes another port for each destination: direct paths only to peers that are not behind such a NAT themselves", Mapping: "address-and-port-dependent", Reflexive: []string{"198.51.100.7:1", "198.51.100.7:2", "198.51.100.7:3", "198.51.100.7:4"}}
		s.Self.NAT.IPv6 = localapi.NATFamily{Mapping: "none", Reflexive: []string{"[2001:db8:1111:2222:3333:4444:5555:6666]:23456"}}
		s.Notices = []string{"port 23456 was taken: 23457 is used instead", "10.77.0.0/16 is a route of this host through eth0 already: only IPv6 is used; choose another prefix with --subnet"}
		six := peer("six-only", "direct", "[2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff]:65535", 123.4, "")
		six.Addresses = six.Addresses[1:]
		nameless := peer("", "offline", "", 0, "")
		nameless.Addresses = nil
		s.Peers = []localapi.Peer{
			peer(strings.Repeat("warehouse-", 6)+"one", "direct", "255.255.255.255:65535", 9999, ""),
			peer(strings.Repeat("warehouse-", 6)+"two", "relay", "203.0.113.9:65535", 99999, "direct paths are blocked"),
			six,
			nameless,
			peer("evil\x1b[2J\nname", "strange-new-path", "203.0.113.9:1", 1, "a\treason\x07 with\u202e controls"),
		}
		return s
	}},
	{name: "fifty", status: func() localapi.Status {
		s := base()
		for i := range 50 {
			p := peer(fmt.Sprintf("node-%02d", i), []string{"direct", "lan", "direct", "offline", "connecting"}[i%5], fmt.Sprintf("203.0.113.%d:23000", i), float64(i%5)*3+0.5, "")
			if p.Path == "connecting" {
				p.Endpoint, p.RTTMillis, p.Reason = "", nil, "no answer from any of its 4 addresses yet"
			}
			p.Addresses[0] = fmt.Sprintf("10.77.200.%d", i+100)
			s.Peers = append(s.Peers, p)
		}
		return s
	}},
}

func TestStatusGolden(t *testing.T) {
	for _, tt := range renderings {
		t.Run(tt.name, func(t *testing.T) {
			var b bytes.Buffer
			if err := renderStatus(&b, tt.status(), renderTime, false, tt.verbose); err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", "status", tt.name+".txt")
			if *update {
				if err := os.WriteFile(golden, b.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), b.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			fits(t, b.String())
		})
	}
}

// fits checks what holds for every output: no line is wider than the terminal
// that people have, ends in blanks, or moves the cursor.
func fits(t *testing.T, text string) {
	t.Helper()
	for i, line := range strings.Split(text, "\n") {
		if n := utf8.RuneCountInString(line); n > width {
			t.Errorf("line %d has %d columns: %q", i+1, n, line)
		}
		if strings.TrimRight(line, " ") != line {
			t.Errorf("line %d ends in blanks: %q", i+1, line)
		}
		if strings.ContainsAny(line, "\x1b\r\a\t") {
			t.Errorf("line %d has control characters: %q", i+1, line)
		}
	}
}

func TestColoursChangeNoText(t *testing.T) {
	for _, tt := range renderings {
		var plain, coloured bytes.Buffer
		if err := renderStatus(&plain, tt.status(), renderTime, false, tt.verbose); err != nil {
			t.Fatal(err)
		}
		if err := renderStatus(&coloured, tt.status(), renderTime, true, tt.verbose); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(plain.String(), withoutColours(coloured.String())); diff != "" {
			t.Errorf("%s (-plain +coloured):\n%s", tt.name, diff)
		}
	}
}

func withoutColours(s string) string {
	for {
		from := strings.Index(s, "\x1b[")
		if from < 0 {
			return s
		}
		to := strings.IndexByte(s[from:], 'm')
		s = s[:from] + s[from+to+1:]
	}
}

// TestAnyStatusFits renders statuses of arbitrary texts: what a member says of
// itself cannot break the display of another.
func TestAnyStatusFits(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	text := func() string {
		alphabet := []rune("abcdefghij-.: \n\x1b[é界\u200b")
		out := make([]rune, rnd.IntN(rnd.IntN(150)+1))
		for i := range out {
			out[i] = alphabet[rnd.IntN(len(alphabet))]
		}
		return string(out)
	}
	for range 200 {
		s := base()
		s.Network, s.Interface, s.Self.Name, s.Backend = text(), text(), text(), text()
		s.Notices = []string{text(), text()}
		s.CheckWords = []string{text()}
		s.Self.NAT.IPv6.Reflexive = []string{text(), text(), text(), text()}
		s.Sources[text()] = localapi.Source{State: text(), Detail: text(), LastError: text(), Found: rnd.Int()}
		s.Drops[text()] = rnd.Uint64()
		for range rnd.IntN(5) {
			p := peer(text(), text(), text(), rnd.Float64()*1e6, text())
			p.ID, p.Addresses, p.RxBytes = text(), []string{text(), text()}, rnd.Int64()
			s.Peers = append(s.Peers, p)
		}
		var b bytes.Buffer
		if err := renderStatus(&b, s, renderTime, false, rnd.IntN(2) == 0); err != nil {
			t.Fatal(err)
		}
		fits(t, b.String())
		if t.Failed() {
			return
		}
	}
}
