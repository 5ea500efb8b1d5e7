"""A small DHT of nodes that are not our code: libtorrent sessions, one an address.

usage: dht.py PORT ADDRESS...

Prints "ready" once each node knows enough others, then does what each line of its
standard input says and answers in one line, and ends when that does:

join ADDRESS NODE         a new node that knows NODE alone: how many it knows at last
peers HASH                who announced it, as the last node finds out
item KEY SALT             the value of a mutable item, likewise
put PRIVATE PUBLIC SALT VALUE   where a mutable item was put: how many keep it

The addresses must not be on a loopback interface, where libtorrent runs no DHT.
"""

import select
import sys
import time

import libtorrent as lt

port, addresses = sys.argv[1], sys.argv[2:]


def endpoint(address):
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def new(address, bootstrap=""):
    return lt.session({
        "listen_interfaces": endpoint(address),
        "enable_dht": True,
        "alert_mask": lt.alert.category_t.dht_notification | lt.alert.category_t.dht_operation_notification,
        "enable_lsd": False,
        "enable_upnp": False,
        "enable_natpmp": False,
        "dht_bootstrap_nodes": bootstrap,
        # All nodes are on one network here, which the real DHT distrusts.
        "dht_restrict_routing_ips": False,
        "dht_restrict_search_ips": False,
        "dht_enforce_node_id": False,
        "dht_ignore_dark_internet": False,
        "dht_prefer_verified_node_ids": False,
    })


sessions = [new(address) for address in addresses]
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



def wait(session, kind, seconds):
    """The alerts up to the first of a kind that is true by then."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        session.wait_for_alert(100)
        for alert in session.pop_alerts():
            if isinstance(alert, kind):
                yield alert


def join(address, node):
    s = new(address, node)
    sessions.append(s)
    count, end = 0, time.monotonic() + 20
    while count < enough and time.monotonic() < end:
        time.sleep(0.1)
        s.post_session_stats()
        for alert in wait(s, lt.session_stats_alert, 1):
            count = alert.values["dht.dht_nodes"]
            break
    return count


def peers(infohash):
    s = sessions[-1]
    for _ in range(10):
        s.dht_get_peers(lt.sha1_hash(bytes.fromhex(infohash)))
        for alert in wait(s, lt.dht_get_peers_reply_alert, 1):
            found = alert.peers()
            if found:
                return " ".join(f"{a}:{p}" for a, p in found)
    return "none"


def item(key, salt):
    s = sessions[-1]
    s.dht_get_mutable_item(bytes.fromhex(key), salt.encode())
    for alert in wait(s, lt.dht_mutable_item_alert, 40):
        if alert.authoritative or alert.item:
            return alert.item["value"].decode() if alert.item else "none"
    return "none"


def put(private, public, salt, value):
    s = sessions[-1]
    s.dht_put_mutable_item(bytes.fromhex(private), bytes.fromhex(public), value.encode(), salt.encode())
    for alert in wait(s, lt.dht_put_alert, 40):
        return alert.num_success
    return "none"


commands = {"join": join, "peers": peers, "item": item, "put": put}
while True:
    if select.select([sys.stdin], [], [], 0.5)[0]:
        line = sys.stdin.readline()
        if not line:
            break
        name, *arguments = line.split()
        print(commands[name](*arguments), flush=True)
    for s in sessions:
        s.pop_alerts()
