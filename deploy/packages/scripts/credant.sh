# What each package manager's scripts of credant are made of: scripts.go adds
# when each function is called.

have() { command -v "$1" >/dev/null 2>&1; }

booted_systemd() { [ -d /run/systemd/system ]; }

booted_openrc() { [ -d /run/openrc ] && have rc-service; }

# After installing and after each upgrade: the group whose members may look.
installed() {
  if have systemd-sysusers; then
    systemd-sysusers credant.conf
  elif ! getent group credant >/dev/null; then
    if have groupadd; then groupadd --system credant; else addgroup -S credant; fi
  fi
  if have systemd-tmpfiles; then systemd-tmpfiles --create credant.conf || :; fi
  if booted_systemd; then systemctl daemon-reload || :; fi
}

# A restart keeps the tunnel: the old daemon leaves it to the new one.
upgraded() {
  if booted_systemd; then
    systemctl try-restart 'credant@*.service' || :
  elif booted_openrc; then
    for script in /etc/init.d/credant /etc/init.d/credant.*; do
      if [ -e "$script" ]; then rc-service --quiet --ifstarted "${script##*/}" restart || :; fi
    done
  fi
}

# Before the program goes: nothing of it stays on the host but its keys.
removing() {
  if booted_systemd; then
    systemctl stop 'credant@*.service' || :
  elif booted_openrc; then
    for script in /etc/init.d/credant /etc/init.d/credant.*; do
      if [ -e "$script" ]; then rc-service --quiet --ifstarted "${script##*/}" stop || :; fi
    done
  fi
  # Also networks that were begun by hand, and what a crash has left.
  for network in /run/credant/*.sock /var/lib/credant/*/; do
    [ -e "$network" ] || continue
    network=$(basename "$network" .sock)
    credant down --network "$network" >/dev/null || echo "credant: network $network could not be taken down: see above" >&2
  done
}

removed() {
  rmdir /run/credant 2>/dev/null || :
  rmdir /var/lib/credant 2>/dev/null || : # stays where it has keys
  if booted_systemd; then systemctl daemon-reload || :; fi
}

# What "credant service install" has enabled points at nothing now.
disabled() {
  rm -f /etc/systemd/system/*.wants/credant@*.service
  for folder in /etc/systemd/system/credant@*.service.d; do
    rm -f "$folder/credant.conf"
    rmdir "$folder" 2>/dev/null || : # not there, or somebody's own
  done
  for script in /etc/init.d/credant.*; do
    [ -L "$script" ] || continue
    if have rc-update; then rc-update --quiet --all del "${script##*/}" || :; fi
    rm -f "$script"
  done
}

# Keys and settings, on the administrator's word alone.
purged() {
  rm -rf /var/lib/credant /etc/credant /run/credant
  if getent group credant >/dev/null && have groupdel; then groupdel credant || :; fi
}
