package discovery

import (
	"net/netip"
	"testing"
	"time"

	"github.com/credant/credant/discovery/keys"
)

// A cookie is good once, for whom and where it was issued, for half a minute.
func TestCookie(t *testing.T) {
	w := newWorld(t, 1)
	now := time.Unix(1_000_000, 0)
	node, other := w.nodeKey().Public(), w.nodeKey().Public()
	from := netip.MustParseAddrPort(addrA)
	tx := [16]byte{1}
	type attempt struct {
		after   time.Duration
		tx      [16]byte
		from    netip.AddrPort
		node    keys.NodePublic
		flip    int // a byte of the cookie to change, from 1
		verdict cookieVerdict
	}
	for name, x := range map[string]attempt{
		"at once":         {0, tx, from, node, 0, cookieGood},
		"across rotation": {25 * time.Second, tx, from, node, 0, cookieGood},
		"too late":        {31 * time.Second, tx, from, node, 0, cookieBad},
		"much too late":   {time.Hour, tx, from, node, 0, cookieBad},
		"another tx":      {0, [16]byte{2}, from, node, 0, cookieBad},
		"another port":    {0, tx, netip.AddrPortFrom(from.Addr(), 1), node, 0, cookieBad},
		"another address": {0, tx, netip.MustParseAddrPort("198.51.100.9:40001"), node, 0, cookieBad},
		"another node":    {0, tx, from, other, 0, cookieBad},
		"another time":    {time.Second, tx, from, node, 4, cookieBad},
		"another mac":     {0, tx, from, node, 16, cookieBad},
	} {
		jar := newCookieJar(reader{w.rng})
		jar.rotate(now.Add(10*time.Second - cookieRotation)) // so that it is due ten seconds on
		c := jar.issue(now, tx, from, node)
		if x.flip > 0 {
			c[x.flip-1] ^= 1
		}
		at := now.Add(x.after)
		age, verdict := jar.check(at, c, x.tx, x.from, x.node)
		if verdict != x.verdict || verdict == cookieGood && age != x.after {
			t.Errorf("%s: verdict %d, age %v", name, verdict, age)
		}
		if verdict == cookieGood {
			jar.redeem(c)
			for range 2 * maxUsedCookies { // which retires the secret early
				if _, v := jar.check(at, c, x.tx, x.from, x.node); v == cookieGood {
					t.Fatalf("%s: good twice", name)
				}
				jar.redeem(jar.issue(at, [16]byte(mustBytes(w, 16)), from, node))
			}
			if n := len(jar.current.used) + len(jar.previous.used); n > 2*maxUsedCookies {
				t.Errorf("%s: %d cookies remembered", name, n)
			}
		}
	}

	jar := newCookieJar(reader{w.rng})
	jar.issue(now, tx, from, node)
	first := jar.current.key
	jar.issue(now.Add(cookieRotation-1), tx, from, node)
	if jar.current.key != first {
		t.Error("rotated too early")
	}
	jar.issue(now.Add(cookieRotation), tx, from, node)
	if jar.current.key == first || jar.previous.key != first {
		t.Error("not rotated after two minutes, or the previous secret is gone")
	}
	jar.issue(now.Add(time.Hour), tx, from, node)
	if jar.previous.used != nil {
		t.Error("a secret an hour old is kept")
	}
}

func mustBytes(w *world, n int) []byte {
	b := make([]byte, n)
	mustRead(reader{w.rng}, b)
	return b
}
