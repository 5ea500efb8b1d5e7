"""A small DHT of nodes that are not our code: libtorrent sessions, one an address.

usage: dht.py PORT ADDRESS...

Prints "ready" once each node knows enough others, and ends when its standard
input does. The addresses must not be on a loopback interface, where libtorrent
runs no DHT.
"""

import select
import sys
import time

import libtorrent as lt

port, addresses = sys.argv[1], sys.argv[2:]


def endpoint(address):
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


sessions = [
    lt.session({
        "listen_interfaces": endpoint(address),
        "enable_dht": True,
        "enable_lsd": False,
        "enable_upnp": False,
        "enable_natpmp": False,
        "dht_bootstrap_nodes": "",
        # All nodes are on one network here, which the real DHT distrusts.
        "dht_restrict_routing_ips": False,
        "dht_restrict_search_ips": False,
        "dht_enforce_node_id": False,
        "dht_ignore_dark_internet": False,
        "dht_prefer_verified_node_ids": False,
    })
    for address in addresses
]
# Left to a bootstrap node they take minutes to find each other.
for s in sessions:
    for address in addresses:
        s.add_dht_node((address, int(port)))

enough = min(len(sessions) - 1, 8)
known = {}
while len(known) < len(sessions) or min(known.values()) < enough:
    for s in sessions:
        s.post_session_stats()
    time.sleep(0.1)
    for i, s in enumerate(sessions):
        for alert in s.pop_alerts():
            if isinstance(alert, lt.session_stats_alert):
                known[i] = alert.values["dht.dht_nodes"]
print("ready", flush=True)

while not select.select([sys.stdin], [], [], 1)[0]:
    for s in sessions:
        s.pop_alerts()
