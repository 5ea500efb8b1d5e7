package demux

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
)

// stunRequest is the header of RFC 5769, Section 2.1, without its attributes.
const stunRequest = "000100582112a442b7e7a701bc34d686fa87dfae"

func TestClassify(t *testing.T) {
	wireguard := func(first string, size int) []byte {
		b := make([]byte, size)
		copy(b, mustHex(t, first))
		return b
	}
	tests := map[string]struct {
		in   []byte
		want Kind
	}{
		"empty":                                 {nil, Unknown},
		"WireGuard initiation":                  {wireguard("01000000", 148), WireGuard},
		"WireGuard response":                    {wireguard("02000000", 92), WireGuard},
		"WireGuard cookie reply":                {wireguard("03000000", 64), WireGuard},
		"WireGuard keepalive":                   {wireguard("04000000", 32), WireGuard},
		"WireGuard, too short":                  {wireguard("04000000", 31), Unknown},
		"WireGuard, no such type":               {wireguard("05000000", 148), Unknown},
		"WireGuard type 0":                      {wireguard("00000000", 148), Unknown},
		"WireGuard, reserved bytes set":         {wireguard("04000001", 148), Unknown},
		"STUN binding request":                  {mustHex(t, stunRequest), STUN},
		"STUN binding success":                  {mustHex(t, "0101"+stunRequest[4:]), STUN},
		"STUN binding error":                    {mustHex(t, "0111"+stunRequest[4:]), STUN},
		"STUN, too short":                       {mustHex(t, stunRequest)[:19], Unknown},
		"STUN without the cookie (RFC 3489)":    {mustHex(t, "00010000"+"00000000"+stunRequest[16:]), Unknown},
		"STUN cookie after a wrong byte":        {mustHex(t, "40010000"+stunRequest[8:]), Unknown},
		"a STUN header WireGuard would eat":     {append(mustHex(t, "01000000"+stunRequest[8:]), make([]byte, 12)...), WireGuard},
		"short, WireGuard's and STUN's at once": {mustHex(t, "01000000"+stunRequest[8:]), Unknown},
		"DHT query":                             {[]byte("d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe"), DHT},
		"DHT, cut":                              {[]byte("d1:q4:ping1:t2:aa1:y1:q"), Unknown},
		"DHT, one byte":                         {[]byte("d"), Unknown},
		"CredAnt version 1":                     {[]byte{0xa1, 3}, CredAnt},
		"CredAnt, any version":                  {[]byte{0xaf}, CredAnt},
		"below CredAnt":                         {[]byte{0x9f, 3}, Unknown},
		"above CredAnt":                         {[]byte{0xb0, 3}, Unknown},
		"RTP":                                   {mustHex(t, "80600001"), Unknown},
		"DTLS":                                  {mustHex(t, "16feff00"), Unknown},
		"QUIC long header":                      {mustHex(t, "c000000001"), Unknown},
		"text":                                  {[]byte("M-SEARCH * HTTP/1.1\r\n"), Unknown},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := Classify(tt.in); got != tt.want {
				t.Errorf("Classify(%x) = %v, want %v", tt.in, got, tt.want)
			}
		})
	}
}

func TestKindString(t *testing.T) {
	seen := map[string]bool{}
	for k := Unknown; k <= CredAnt; k++ {
		if s := k.String(); s == "" || seen[s] {
			t.Errorf("Kind(%d).String() = %q, empty or given twice", k, s)
		} else {
			seen[s] = true
		}
	}
	if got := Kind(200).String(); got != "unknown" {
		t.Errorf("Kind(200).String() = %q, want unknown", got)
	}
}

// What the kernel's side port rule hands to WireGuard must be what we call
// WireGuard or drop, never another protocol; and no kind may depend on bytes
// beyond those that doc.go names.
func FuzzClassify(f *testing.F) {
	f.Add([]byte{})
	f.Add(mustHex(f, stunRequest))
	f.Add([]byte("d1:y1:qe"))
	f.Add([]byte{0xa1, 1, 2})
	f.Add(append([]byte{4, 0, 0, 0}, make([]byte, 28)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		got := Classify(b)
		if !bytes.Equal(b, before) {
			t.Fatal("Classify changed its input")
		}
		kernelTakesIt := len(b) >= 4 && b[0] >= 1 && b[0] <= 4 && bytes.Equal(b[1:4], []byte{0, 0, 0})
		switch {
		case kernelTakesIt && len(b) >= shortestWireGuard && got != WireGuard:
			t.Fatalf("%x is %v here and WireGuard to the kernel", b, got)
		case kernelTakesIt && len(b) < shortestWireGuard && got != Unknown:
			t.Fatalf("%x never gets here on a kernel device, yet it is %v", b, got)
		case !kernelTakesIt && got == WireGuard:
			t.Fatalf("%x is WireGuard here and not to the kernel", b)
		}
		if len(b) < 9 {
			return
		}
		for i := 8; i < len(b)-1; i++ {
			b[i] ^= 0xff
		}
		if again := Classify(b); again != got {
			t.Fatalf("%x is %v, and %v with other bytes in the middle", before, got, again)
		}
	})
}

func BenchmarkClassify(b *testing.B) {
	for name, s := range map[string]string{"kind=STUN": stunRequest, "kind=CredAnt": "a103" + strings.Repeat("00", 126)} {
		in := mustHex(b, s)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Classify(in)
			}
		})
	}
}

func mustHex(tb testing.TB, s string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}
