# Of namespaces that are new: gives them the file system of an image, and becomes its systemd (process 1).
# $1 image (ext4), $2 an empty directory, $3 name of the host
set -eu
image=$1 root=$2 name=$3
mount -o loop "$image" "$root"
mount -t proc proc "$root/proc"
# The machine's own devices and settings are not to be touched: neither udev nor sysctl finds anything to write.
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,ro,bind "$root/proc/sys"
mount --bind /proc/sys/net "$root/proc/sys/net"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=0755 tmpfs "$root/run"
mount -t tmpfs -o mode=0755 tmpfs "$root/dev"
for device in null zero full random urandom tty fuse; do
  [ -e "/dev/$device" ] || continue
  touch "$root/dev/$device"
  mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
mount -t tmpfs tmpfs "$root/dev/shm"
hostname "$name"
echo "$name" > "$root/etc/hostname"
# What is there for a VM and a node: its disk, its network, its kubelet.
: > "$root/etc/fstab"
chroot "$root" systemctl disable etc-lab.mount kubelet.service lab-apiserver-address.service lab-images.service \
  ssh.service systemd-networkd.service systemd-networkd-wait-online.service
cd "$root"
mkdir -p old
pivot_root . old
umount -l /old
# Tells systemd that it is not on a machine of its own (systemd.io/CONTAINER_INTERFACE).
exec env -i container=lab PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd </dev/null
