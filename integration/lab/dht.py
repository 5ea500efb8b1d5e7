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
# Left to themselves they take minutes to find each other. Each keeps of these what its routing table has room for.
for i, session in enumerate(sessions):
    for addresses in nodes[:i] + nodes[i + 1 :]:
        for address in addresses.split(","):
            session.add_dht_node((address, int(port)))

enough = min(8, len(nodes) - 1) * len(nodes[0].split(","))
while True:
    for s in sessions:
        s.post_session_stats()
    time.sleep(0.1)
    known = []
    for s in sessions:
        for alert in s.pop_alerts():
            if isinstance(alert, libtorrent.session_stats_alert):
                known.append(alert.values["dht.dht_nodes"])
    if len(known) == len(sessions) and min(known) >= enough:
        break
print("ready", flush=True)
while True:
    time.sleep(60)
    for s in sessions:
        s.pop_alerts()
