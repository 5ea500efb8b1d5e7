#!/usr/bin/python3
"""Stands in for the daemon: it listens where the daemon does, ends as it is told
by the first signal, and notes both in /said."""
import os, signal, socket, sys, time

settings = dict(zip(sys.argv[3::2], sys.argv[4::2]))
assert sys.argv[1:3] == ["up", "--foreground"], sys.argv


def say(*words):
    with open("/said", "a") as f:
        print(settings["--network"], *words, file=f)


signals = []
for s in signal.SIGTERM, signal.SIGUSR1:
    signal.signal(s, lambda number, _: signals.append(number))
path = "/run/credant/" + settings["--network"] + ".sock"
os.makedirs("/run/credant", exist_ok=True)
if os.path.exists(path):
    os.remove(path)
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen()
print("logged by", settings["--network"], flush=True)
say("start", os.getpid())
while not signals:
    time.sleep(0.05)
time.sleep(0.5)  # what is taken away takes a while
os.remove(path)
say("end", signal.Signals(signals[0]).name)
