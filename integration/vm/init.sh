#!/bin/busybox sh
# Process 1 of the guest. First from the RAM disk: reach the host's files and switch to them. Then, as "init job", on
# the host's own shell: run the job, hand its exit code over and power off.
# Markers on the kernel's command line: credant.job is the shared directory that holds the job, credant.results the
# one for results (or empty), credant.modules the unpacked /lib/modules/VERSION on the host.

argument() { # the value of NAME on the kernel's command line
  for word in $(/bin/busybox cat /proc/cmdline); do
    case $word in "$1="*) echo "${word#*=}" ;; esac
  done
}

if [ "$1" != job ]; then
  export PATH=/bin
  /bin/busybox --install /bin
  mount -t proc proc /proc
  mount -t sysfs sysfs /sys
  mount -t devtmpfs dev /dev
  while read -r module; do insmod "/modules/$module"; done </modules/order

  options=trans=virtio,version=9p2000.L,msize=1048576
  mount -t 9p -o "ro,cache=loose,$options" host /host
  mount -t tmpfs ram /ram
  mkdir /ram/upper /ram/work
  mount -t overlay -o lowerdir=/host,upperdir=/ram/upper,workdir=/ram/work overlay /root

  mount -t tmpfs -o mode=755 run /root/run
  mkdir -p /root/run/vm /root/run/lock
  mount -t 9p -o "$options" job /root/run/vm
  results=$(argument credant.results)
  if [ -n "$results" ]; then
    mkdir -p "/root$results"
    mount -t 9p -o "$options" results "/root$results"
  fi
  modules=$(argument credant.modules)
  mkdir -p "/root/lib/modules/$(uname -r)"
  mount -o bind "/root$modules" "/root/lib/modules/$(uname -r)"

  for dir in proc sys dev; do mount -o move "/$dir" "/root/$dir"; done
  mkdir -p /root/dev/pts /root/dev/shm /root/dev/net
  mount -t devpts devpts /root/dev/pts
  mount -t tmpfs shm /root/dev/shm
  ln -s /proc/self/fd /root/dev/fd
  # Opening these loads the module behind them.
  mknod /root/dev/net/tun c 10 200
  exec switch_root /root /bin/sh /run/vm/init job
fi

# The ports are numbered by the runner: 1 standard output, 2 standard error, 3 exit code, 4 signs of life.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
hostname vm
echo 4 >/proc/sys/kernel/printk # of a boot that hangs all is wanted, of tests what is wrong
ip link set lo up
(while :; do echo alive; sleep 5; done) >/dev/vport0p4 &
setsid sh /run/vm/job </dev/null >/dev/vport0p1 2>/dev/vport0p2
echo $? >/dev/vport0p3
sync
echo o >/proc/sysrq-trigger
# The power goes off asynchronously; process 1 must not end before.
while :; do sleep 1; done
