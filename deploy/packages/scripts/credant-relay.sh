# What each package manager's scripts of credant-relay are made of: scripts.go
# adds when each function is called. The relay is not started by installing it:
# it would serve strangers at once.

have() { command -v "$1" >/dev/null 2>&1; }

booted_systemd() { [ -d /run/systemd/system ]; }

installed() {
  if booted_systemd; then systemctl daemon-reload || :; fi
}

upgraded() {
  if booted_systemd; then systemctl try-restart credant-relay.service || :; fi
}

removing() {
  if booted_systemd; then systemctl stop credant-relay.service || :; fi
}

removed() {
  if booted_systemd; then systemctl daemon-reload || :; fi
}

disabled() {
  rm -f /etc/systemd/system/*.wants/credant-relay.service
}

# The key and the settings, on the administrator's word alone.
purged() {
  rm -rf /var/lib/private/credant-relay /var/lib/credant-relay /etc/credant-relay.toml
}
