# Runs $5 in a clean Debian: the disk image $1, below a RAM disk. $2 and $3 are the
# folders of two releases, $4 an empty one. Mounts vanish with this namespace.
set -e
cd "$4"
mkdir disk ram
mount -o loop,ro,noload "$1" disk
mount -t tmpfs ram ram
mkdir ram/upper ram/work ram/root
mount -t overlay -o lowerdir=disk,upperdir=ram/upper,workdir=ram/work overlay ram/root
cd ram/root
mkdir -p older newer dev/net
mount --bind "$2" older
mount --bind "$3" newer
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t tmpfs run run
mount --bind /dev dev
mkdir -p run/lock
hostname clean
exec chroot . env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive HOME=/root \
  bash -c "set -Eeuo pipefail; trap 'echo \"failed: \$BASH_COMMAND\"' ERR
# bash lets a failing \"! command\" pass.
not() { if \"\$@\"; then echo \"not expected: \$*\"; return 1; fi; }
$5"
