#!/bin/sh
# The first process of a user-mode-linux kernel: makes a writable machine over the host's files, runs one command in
# it, writes the command's status where the host sees it, and switches the kernel off.
#
# The kernel hands over TESTBED_EXCHANGE, a folder of the host: `command.sh` is what to run, `output` and `status` are
# what came of it. Any failure here ends this process, thereby the kernel, and no status is written.
set -eu
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

mount -t proc proc /proc
modules=/usr/lib/uml/modules/$(uname -r)
insmod "$modules/kernel/fs/overlayfs/overlay.ko"

# An overlay, because the host's files must not change; pivot_root, because chroot would let containers out of it.
mount -t tmpfs -o mode=755 tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work overlay /mnt/root
mkdir -p /mnt/root/mnt/host
umount /proc
cd /mnt/root
pivot_root . mnt/host
cd /

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/shm /dev/pts
mount -t devpts devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t tmpfs -o mode=755 tmpfs /run
[ -e /dev/fd ] || ln -s /proc/self/fd /dev/fd
mkdir -p /lib/modules /run/exchange
rm -rf "/lib/modules/$(uname -r)"
ln -s "$modules" "/lib/modules/$(uname -r)"
mount -t hostfs -o "$TESTBED_EXCHANGE" none /run/exchange
ip link set lo up

status=0
sh /run/exchange/command.sh < /dev/null > /run/exchange/output 2>&1 || status=$?
echo "$status" > /run/exchange/status
sync
"$TESTBED_PYTHON" -c 'import ctypes; ctypes.CDLL(None).reboot(0x4321FEDC)'  # RB_POWER_OFF
