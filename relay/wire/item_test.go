package wire

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestItem(t *testing.T) {
	addrs := []ServerAddress{
		{Host: "203.0.113.5", Port: 3478},
		{Host: "2001:db8::5", Port: 3480},
		{Host: "relay.example.org", Port: 3478},
	}
	signed := addrs[0]
	signed.Key = ServerPublic{1}
	b := EncodeItem(append([]ServerAddress{signed}, addrs[1:]...))
	if want := "203.0.113.5:3478 [2001:db8::5]:3480 relay.example.org:3478"; string(b) != want {
		t.Errorf("item %q, want %q", b, want)
	}
	got, err := ParseItem(b)
	if diff := cmp.Diff(addrs, got); err != nil || diff != "" {
		t.Errorf("parsed: %v (-want +got):\n%s", err, diff)
	}
}

func TestItemIsBounded(t *testing.T) {
	long := ServerAddress{Host: strings.Repeat(strings.Repeat("a", 62)+".", 3) + "example", Port: 1}
	if b := EncodeItem([]ServerAddress{long, long, long, long, long, long}); len(b) > MaxItem {
		t.Errorf("item of %d bytes", len(b))
	}
	if _, err := ParseItem([]byte(strings.Repeat("a:1 ", 300))); err == nil {
		t.Error("an item of 1,200 bytes is accepted")
	}
	if got, err := ParseItem([]byte(strings.Repeat("192.0.2.1:1 ", 50))); err != nil || len(got) != maxItemAddresses {
		t.Errorf("%d addresses of 50, error %v", len(got), err)
	}
}

func FuzzItem(f *testing.F) {
	f.Add([]byte("203.0.113.5:3478 [2001:db8::5]:3480"))
	f.Add([]byte(""))
	f.Add([]byte("#:"))
	f.Fuzz(func(t *testing.T, b []byte) {
		addrs, err := ParseItem(b)
		if err != nil {
			return
		}
		again, err := ParseItem(EncodeItem(addrs))
		if err != nil || !cmp.Equal(addrs, again) {
			t.Errorf("%v became %v, error %v", addrs, again, err)
		}
	})
}
