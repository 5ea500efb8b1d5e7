# What the unit's sandbox has to allow, and what not. It runs in place of the daemon, in a unit that differs in nothing
# else, and prints a line for each promise that is not kept.
must() {
  local said
  said=$("${@:2}" 2>&1) || echo "$1 fails: $said"
}
mustnot() {
  "${@:2}" >/dev/null 2>&1 && echo "$1 is allowed"
}
same() { sh -c 'v=$(cat "$1") && echo "$v" >"$1"' sh "$1"; }

must 'a WireGuard device' ip link add credant9 type wireguard
must 'the device up' ip link set credant9 up
must 'an address' ip address add 10.99.0.1/24 dev credant9
must 'a route' ip route add 10.98.0.0/16 dev credant9
must 'a rule' ip rule add fwmark 77 lookup 77
must 'the rule to go' ip rule del fwmark 77 lookup 77
must 'systemd-resolved' resolvectl dns credant9 10.99.0.1
must 'systemd-resolved to forget' resolvectl revert credant9
must 'the device to go' ip link del credant9
must 'a TUN device' ip tuntap add mode tun name credant9
must 'the TUN device to go' ip link del credant9
must 'nftables' nft add table inet credant_probe
must 'the table to go' nft delete table inet credant_probe
must 'forwarding, IPv4' same /proc/sys/net/ipv4/ip_forward
must 'forwarding, IPv6' same /proc/sys/net/ipv6/conf/all/forwarding
must 'src_valid_mark' same /proc/sys/net/ipv4/conf/all/src_valid_mark
must '/etc/hosts' sh -c 'echo "# probe" >>/etc/hosts'
must '/etc/hosts replaced' sh -c 'cp -p /etc/hosts /etc/hosts.probe && mv /etc/hosts.probe /etc/hosts'
must 'a socket folder' mkdir -p /run/credant
must 'resolvconf' mkdir -p /run/resolvconf
must 'a group for the socket' sh -c 'touch /run/credant/probe && chgrp credant /run/credant/probe && rm /run/credant/probe'
must 'the state folder' sh -c 'touch /var/lib/credant/probe && rm /var/lib/credant/probe'
must 'ufw' ufw route allow in on lo out on lo
must 'ufw to forget' ufw route delete allow in on lo out on lo
zone() {
  busctl call org.fedoraproject.FirewallD1 /org/fedoraproject/FirewallD1 org.fedoraproject.FirewallD1.zone "$1" ss trusted credant9
}
must 'firewalld' zone addInterface
must 'firewalld to forget' zone removeInterface

mustnot 'a program of the system' touch /usr/bin/probe
mustnot 'a unit' touch /etc/systemd/system/probe.service
mustnot 'a unit until the next start' sh -c 'mkdir -p /run/systemd/system && touch /run/systemd/system/probe.service'
mustnot 'a job' touch /etc/cron.d/probe
mustnot 'another state folder' touch /var/lib/probe
mustnot 'a home' touch /root/probe
mustnot 'the rest of /proc/sys' same /proc/sys/kernel/core_pattern
mustnot 'a mount' mount -t tmpfs none /mnt
mustnot 'a namespace' unshare --user true
mustnot 'a module' modprobe dummy
mustnot 'a disk' head -c 1 /dev/vda
mustnot 'the clock' date -s 2000-01-01
mustnot 'a file of another user' head -c 1 /home/probe/secret
exit 0
