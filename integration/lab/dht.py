# Runs a private BitTorrent DHT of libtorrent nodes until it is killed: dht.py PORT ADDRESS[,ADDRESS6]...
# Any node will do for others to bootstrap from. Says "ready" when every node knows enough of the others.
import sys
import time

import libtorrent

port, nodes = sys.argv[1], sys.argv[2:]


def listen(addresses):
    return ",".join(
        f"[{a}]:{port}" if ":" in a else f"{a}:{port}" for a in addresses.split(",")
    )


settings = {
    "enable_dht": True,
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    "dht_bootstrap_nodes": "",
    # All nodes are on one machine, in ranges that look like one network to the rules against Sybils.
    "dht_restrict_routing_ips": False,
    "dht_restrict_search_ips": False,
    "dht_enforce_node_id": False,
    "dht_ignore_dark_internet": False,
    "dht_prefer_verified_node_ids": False,
}
sessions = [
    libtorrent.session({**settings, "listen_interfaces": listen(addresses)})
    for addresses in nodes
]


def introduce(i):
    """Left to themselves they take minutes to find each other."""
    for addresses in nodes[:i] + nodes[i + 1 :]:
        for address in addresses.split(","):
            sessions[i].add_dht_node((address, int(port)))


# Each keeps of the others what its routing table has room for. One that asked before the others listened asks again.
enough = min(8, len(nodes) - 1) * len(nodes[0].split(","))
known = [0] * len(sessions)
asked = [0.0] * len(sessions)
while min(known) < enough:
    for i, s in enumerate(sessions):
        if known[i] < enough and time.monotonic() - asked[i] > 2:
            asked[i] = time.monotonic()
            introduce(i)
        s.post_session_stats()
    time.sleep(0.1)
    for i, s in enumerate(sessions):
        for alert in s.pop_alerts():
            if isinstance(alert, libtorrent.session_stats_alert):
                known[i] = alert.values["dht.dht_nodes"]
print("ready", flush=True)
while True:
    time.sleep(60)
    for s in sessions:
        s.pop_alerts()
