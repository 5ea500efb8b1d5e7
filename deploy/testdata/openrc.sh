# Runs OpenRC, unpacked at $1, over this host's files, in namespaces that end with this script, and in it the script $2.
# What is in the current folder is this package's.
set -e
mount -t tmpfs scratch /mnt
mkdir /mnt/upper /mnt/work /mnt/root
cp -a "$1" /mnt/openrc # it may not be on the file system below
root=/mnt/root
mount -t overlay overlay -o lowerdir=/mnt/openrc:/,upperdir=/mnt/upper,workdir=/mnt/work $root
mount -t proc proc $root/proc
for dir in run tmp var/lib; do mount -t tmpfs scratch $root/$dir; done
mount --rbind /dev $root/dev

# What OpenRC makes at boot, and what Debian's asks for.
for dir in daemons exclusive failed hotplugged inactive options scheduled started starting stopping tmp wasinactive; do
  mkdir -p "$root/run/openrc/$dir"
done
echo default >$root/run/openrc/softlevel
mkdir -p $root/etc/runlevels/default $root/etc/init.d
touch $root/etc/insserv.conf
rm -rf $root/etc/init.d/* $root/etc/runlevels/default/*

install -m 755 openrc/credant $root/etc/init.d/credant
rm -f $root/usr/bin/credant
install -m 755 testdata/daemon.py $root/usr/bin/credant
cp "$2" $root/test
chroot $root /bin/bash /test
