#!/bin/sh
# Installs CredAnt from the folder that this script is in, without a network and
# without a package manager. Run again with a newer release it upgrades, and the
# tunnels stay up. It needs root.
set -eu

usage() {
  cat <<'TEXT'
Usage: install.sh [--relay] [--prefix FOLDER] [--root FOLDER]
       install.sh --uninstall [--purge] [--relay] [--prefix FOLDER] [--root FOLDER]

  --relay          credant-relay instead of credant
  --prefix FOLDER  where programs and manuals go (default /usr/local; /usr on OpenWrt)
  --root FOLDER    install into a system that is not running, such as an image
  --uninstall      take networks down and remove what was installed; keys stay
  --purge          with --uninstall: delete keys and settings too
TEXT
}

die() {
  echo "install.sh: $*" >&2
  exit 1
}

say() { echo "install.sh: $*"; }

have() { command -v "$1" >/dev/null 2>&1; }

program=credant prefix='' root='' act=install purge=no
while [ $# -gt 0 ]; do
  case $1 in
    --relay) program=credant-relay ;;
    --prefix | --root)
      [ $# -ge 2 ] || die "$1 needs a folder: see --help"
      case $2 in /*) ;; *) die "$1 $2: give the folder from / on" ;; esac
      if [ "$1" = --prefix ]; then prefix=${2%/}; else root=${2%/}; fi
      shift
      ;;
    --uninstall) act=uninstall ;;
    --purge) purge=yes ;;
    -h | --help)
      usage
      exit 0
      ;;
    *) die "unknown argument $1: see --help" ;;
  esac
  shift
done
[ "$purge" = no ] || [ "$act" = uninstall ] || die "--purge goes with --uninstall: see --help"
[ "$(id -u)" = 0 ] || die "this needs root: run it with sudo"

here=$(cd "$(dirname "$0")" && pwd)

# init names what starts services here: what runs, else, in an image or a
# container, what is installed.
init() {
  if running systemd || running openrc || running procd; then echo "$found"
  elif [ -e "$root/usr/lib/systemd/systemd" ] || [ -e "$root/lib/systemd/systemd" ]; then echo systemd
  elif [ -e "$root/sbin/openrc-run" ] || [ -e "$root/usr/bin/openrc-run" ]; then echo openrc
  elif [ -e "$root/sbin/procd" ]; then echo procd
  else echo none; fi
}

# running tells whether an init system is there to be talked to.
running() {
  [ -z "$root" ] || return 1
  found=$1
  case $1 in
    systemd) [ -d /run/systemd/system ] ;;
    openrc) [ -d /run/openrc ] ;;
    procd) [ -S /var/run/ubus/ubus.sock ] || [ -S /var/run/ubus.sock ] ;;
    *) return 1 ;;
  esac
}

init=$(init)
if [ -z "$prefix" ]; then
  if [ "$init" = procd ]; then prefix=/usr; else prefix=/usr/local; fi
fi
list=$root$prefix/share/$program/installed # what was installed, to be removed one day

# reload makes the running system see new units.
reload() {
  if running systemd; then systemctl daemon-reload; fi
}

# service does something to each service of the program that is running.
service() {
  running "$init" || return 0
  case $init in
    systemd)
      units=credant-relay.service
      [ "$program" = credant-relay ] || units='credant@*.service'
      if [ "$1" = restart ]; then systemctl try-restart "$units"; else systemctl stop "$units"; fi
      ;;
    openrc)
      for script in "/etc/init.d/$program" "/etc/init.d/$program".*; do
        if [ -e "$script" ]; then rc-service --quiet --ifstarted "${script##*/}" "$1"; fi
      done
      ;;
    procd)
      if [ -x "/etc/init.d/$program" ]; then "/etc/init.d/$program" "$1"; fi
      ;;
  esac || say "the service could not be told to $1: look at its log"
}

check() {
  have sha256sum || die "sha256sum is missing: install coreutils or busybox, so that the files can be checked"
  [ -r "$here/SHA256SUMS" ] || die "$here/SHA256SUMS is missing: unpack the whole release and run install.sh in it"
  sums=$(grep -E "  (programs/$arch/$program|share/.*|install\.sh)\$" "$here/SHA256SUMS") || sums=
  case $sums in *"programs/$arch/$program"*) ;; *) die "this release has no $program for $arch: get one that has" ;; esac
  (cd "$here" && echo "$sums" | sha256sum -c - >/dev/null 2>&1) || die "a file of the release is missing or was changed: get the release again (cd $here && sha256sum -c SHA256SUMS names the file)"
}

# put copies a file over what may be in use: the old one stays whole until the
# new one is. The path of the program in it becomes the one of here.
put() { # FROM TO MODE
  mkdir -p "$root$(dirname "$2")"
  case $1 in
    programs/*) cp "$here/$1" "$root$2.new" ;;
    *) sed -E "s,/usr/(local/)?bin/$program([^a-z-]|\$),$prefix/bin/$program\\2,g" "$here/$1" >"$root$2.new" ;;
  esac
  chmod "$3" "$root$2.new"
  mv -f "$root$2.new" "$root$2"
  echo "$2" >>"$list.new"
}

group() {
  if grep -q '^credant:' "$root/etc/group" 2>/dev/null; then return 0; fi
  if [ -n "$root" ]; then
    # Never for a running system's numbers: the image makes it at its first start.
    if [ "$init" = systemd ]; then
      mkdir -p "$root/etc/sysusers.d"
      echo 'g credant - -' >"$root/etc/sysusers.d/credant.conf"
      echo /etc/sysusers.d/credant.conf >>"$list.new"
    fi
  elif have groupadd; then groupadd --system credant
  elif have addgroup; then addgroup -S credant
  else say "there is no group credant, so only root sees the status: make it with this system's own tools"; fi
}

install() {
  case $(uname -m) in
    x86_64 | amd64) arch=amd64 ;;
    aarch64 | arm64) arch=arm64 ;;
    *) die "there is no program for $(uname -m): build it with Go (make build)" ;;
  esac
  check
  if [ ! -e "$list" ] && [ "$prefix" != /usr ] && [ -e "$root/usr/bin/$program" ]; then
    die "/usr/bin/$program is there, from a package: upgrade that, or remove it first"
  fi
  upgrade=no
  [ ! -e "$list" ] || upgrade=yes

  mkdir -p "$(dirname "$list")"
  : >"$list.new"
  put "programs/$arch/$program" "$prefix/bin/$program" 755
  for page in "$here"/share/man/*; do
    page=${page##*/}
    case $page in # those of the other program
      credant-relay[.-]*) [ "$program" = credant-relay ] || continue ;;
      *) [ "$program" = credant ] || continue ;;
    esac
    put "share/man/$page" "$prefix/share/man/man${page##*.}/$page" 644
  done
  put "share/bash/$program" "$prefix/share/bash-completion/completions/$program" 644
  put "share/zsh/_$program" "$prefix/share/zsh/site-functions/_$program" 644
  put "share/fish/$program.fish" "$prefix/share/fish/vendor_completions.d/$program.fish" 644
  put share/LICENSE "$prefix/share/doc/$program/LICENSE" 644
  if [ "$program" = credant ]; then
    put share/doc/reference.toml "$prefix/share/doc/credant/reference.toml" 644
    mkdir -p "$root/etc/credant"
    group
    case $init in
      systemd) put share/systemd/credant@.service /etc/systemd/system/credant@.service 644 ;;
      openrc) put share/openrc/credant /etc/init.d/credant 755 ;;
      procd) put share/procd/credant /etc/init.d/credant 755 ;;
    esac
  else
    put share/doc/credant-relay.toml "$prefix/share/doc/credant-relay/credant-relay.toml" 644
    if [ "$init" = systemd ]; then
      put share/systemd/credant-relay.service /etc/systemd/system/credant-relay.service 644
    fi
  fi

  # What the last version had and this one has not.
  if [ -e "$list" ]; then
    while read -r file; do
      grep -qxF "$file" "$list.new" || rm -f "$root$file"
    done <"$list"
  fi
  mv -f "$list.new" "$list"
  reload
  if [ "$upgrade" = yes ]; then
    service restart
    say "$program is upgraded"
    return
  fi
  say "$program is installed in $prefix/bin"
  case $program:$init in
    credant:none) say "no init system that this knows: start networks with \"$prefix/bin/credant up\"" ;;
    credant:*) say "next: sudo $prefix/bin/credant service install" ;;
    credant-relay:systemd) say "next: sudo systemctl enable --now credant-relay" ;;
    *) say "next: sudo $prefix/bin/credant-relay" ;;
  esac
}

# down takes away what networks that are no service, or crashed, have here.
down() {
  [ -z "$root" ] && [ "$program" = credant ] || return 0
  for network in /run/credant/*.sock /var/lib/credant/*/; do
    [ -e "$network" ] || continue
    network=$(basename "$network" .sock)
    "$prefix/bin/credant" down --network "$network" >/dev/null || say "network $network could not be taken down: see above"
  done
}

# disable forgets that services were to start with the system.
disable() {
  case $program in
    credant)
      rm -f "$root"/etc/systemd/system/*.wants/credant@*.service
      for folder in "$root"/etc/systemd/system/credant@*.service.d; do
        rm -f "$folder/credant.conf"
        rmdir "$folder" 2>/dev/null || : # not there, or somebody's own
      done
      ;;
    *) rm -f "$root"/etc/systemd/system/*.wants/credant-relay.service ;;
  esac
  for script in "$root/etc/init.d/$program".*; do
    [ -L "$script" ] || continue
    if [ -z "$root" ] && have rc-update; then rc-update --quiet --all del "${script##*/}" || :; fi
    rm -f "$script"
  done
  if running procd && [ -x "/etc/init.d/$program" ]; then "/etc/init.d/$program" disable || :; fi
}

uninstall() {
  if [ -e "$list" ]; then
    service stop
    down
    disable
    while read -r file; do
      rm -f "$root$file"
    done <"$list"
    rm -rf "$(dirname "$list")" # ours alone
    rmdir "$root$prefix/share/doc/$program" "$root/etc/credant" "$root/run/credant" 2>/dev/null || :
    reload
    say "$program is removed"
  elif [ "$purge" = no ]; then
    say "$program was not installed by install.sh in $prefix: nothing to remove"
  fi
  if [ "$purge" = yes ]; then
    case $program in
      credant) rm -rf "$root/var/lib/credant" "$root/etc/credant" ;;
      *) rm -rf "$root/var/lib/credant-relay" "$root/var/lib/private/credant-relay" "$root/etc/credant-relay.toml" ;;
    esac
    say "its keys and settings are deleted"
  elif [ "$program" = credant ] && [ -d "$root/var/lib/credant" ]; then
    say "its keys stay in /var/lib/credant: --uninstall --purge deletes them"
  fi
}

"$act"
