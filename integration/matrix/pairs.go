package main

import "github.com/credant/credant/integration/lab"

// pairs are all that the matrix has: every two kinds, and neighbours.
func pairs() []pair {
	kinds := lab.Kinds()
	var all []pair
	for i, a := range kinds {
		for _, b := range kinds[i:] {
			all = append(all, pair{a: a, b: b})
		}
	}
	return append(all, neighbours()...)
}

// neighbours are pairs that share a router.
func neighbours() []pair {
	hairpins := lab.FullCone.HidePort()
	hairpins.Hairpin = true
	home, plain := lab.PortRestricted, lab.FullCone.HidePort()
	router := func(name, short string, nat lab.NAT) lab.Kind {
		return lab.Kind{Name: name, Short: short, IPv4: true, NAT: &nat}
	}
	with, without := router("hairpinning", "hairpin", hairpins), router("no hairpinning", "nohairpin", plain)
	carrier := func(name, short string, nat lab.NAT) lab.Kind {
		return lab.Kind{Name: name, Short: short, IPv4: true, NAT: &home, Carrier: &nat}
	}
	above, aboveWithout := carrier("hairpinning", "cghair", hairpins), carrier("no hairpinning", "cgnohair", plain)
	return []pair{
		{a: with, b: with, near: oneLAN},
		{a: without, b: without, near: oneLAN},
		{a: with, b: with, near: oneLAN, deaf: true},
		{a: without, b: without, near: oneLAN, deaf: true},
		{a: above, b: above, near: oneCarrier},
		{a: aboveWithout, b: aboveWithout, near: oneCarrier},
	}
}

// names are what a pair's two columns say.
func (p pair) names() (a, b string) {
	switch p.near {
	case oneLAN:
		if p.deaf {
			return "one LAN without multicast", p.a.Name
		}
		return "one LAN", p.a.Name
	case oneCarrier:
		return "two homes below one carrier", p.a.Name
	default:
		return p.a.Name, p.b.Name
	}
}

func (p pair) String() string {
	a, b := p.names()
	return a + " / " + b
}
