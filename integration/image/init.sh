#!/bin/busybox sh
# Process 1 of the RAM disk: puts the shared directory, the agent and the kernel's modules into the disk's tree and hands
# over to the disk's systemd. The disk itself needs to know nothing of this.
# On the kernel's command line, image.modules is the version of the modules.
export PATH=/bin
/bin/busybox --install /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
while read -r module; do insmod "/modules/$module"; done </modules/order

while ! [ -b /dev/vda ]; do sleep 0.1; done
mount -t ext4 -o rw /dev/vda /root
options=trans=virtio,version=9p2000.L,msize=1048576
mkdir -p "/root/lib/modules/$(uname -r)"
mount -t 9p -o "ro,cache=loose,$options" modules "/root/lib/modules/$(uname -r)"

# systemd keeps a /run that it finds, and reads units there.
mount -t tmpfs -o mode=755,nodev,nosuid run /root/run
mkdir -p /root/run/image /root/run/systemd/system/sysinit.target.wants
mount -t 9p -o "$options" image /root/run/image
cp /root/run/image/agent.service /root/run/systemd/system/image-agent.service
ln -s ../image-agent.service /root/run/systemd/system/sysinit.target.wants/
if [ -f /root/run/image/lan.network ]; then
  mkdir -p /root/run/systemd/network
  cp /root/run/image/lan.network /root/run/systemd/network/10-lan.network
fi

for dir in proc sys dev; do mount -o move "/$dir" "/root/$dir"; done
exec switch_root /root /sbin/init
