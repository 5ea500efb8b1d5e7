package lab

import "fmt"

// Narrow makes the cable carry packets of mtu bytes and no longer ones. Both ends keep silent about it, as routers whose
// ICMP is filtered do: what is too long, and must not be fragmented, vanishes.
func (u *Uplink) Narrow(mtu int) error {
	for _, end := range []struct {
		node *Node
		name string
	}{{u.upper, u.upperName}, {u.lower, u.lowerName}} {
		link, err := end.node.link(end.name)
		if err != nil {
			return err
		}
		if err := end.node.links.LinkSetMTU(link, mtu); err != nil {
			return fmt.Errorf("set MTU of %s of %s: %w", end.name, end.node.Name, err)
		}
		if err := end.node.loadRules(silence); err != nil {
			return err
		}
	}
	return nil
}

const silence = `
table inet silence {
  chain output { type filter hook output priority filter;
    icmp type destination-unreachable icmp code frag-needed drop
    icmpv6 type packet-too-big drop
  }
}
`
