#!/bin/sh
# test.sh PACKAGES DIRECTORY: installs the packages in PACKAGES in a Debian 12 of their own, upgrades
# them while a jail runs and a user is logged in, removes and purges them, and compares the files with
# those from before. DIRECTORY has the disk that image.sh makes, which is not changed. Needs root;
# mounts in a namespace of its own.
set -eu

packages=$(cd "$1" && pwd)
disk=$(cd "$2" && pwd)/root.img
here=$(cd "$(dirname "$0")" && pwd)

export packages disk here
exec unshare --mount --pid --fork --kill-child --uts --ipc --propagation private sh -eu -c '
  mount -t tmpfs -o mode=755 package-test /mnt
  cd /mnt
  mkdir disk upper work root
  mount -o ro,loop "$disk" disk
  mount -t overlay -o lowerdir=disk,upperdir=upper,workdir=work debian root
  # A later version: the same files, and another number.
  mkdir later
  for package in "$packages"/*.deb; do
    dpkg-deb -R "$package" tree
    sed -i "s/^Version: .*/&+later/; s/(= [^)]*/&+later/" tree/DEBIAN/control
    dpkg-deb -Znone -b tree "later/${package##*/}" >/dev/null
    rm -r tree
  done

  cd root
  mount -t proc proc proc
  mount -t sysfs -o ro sys sys
  mount -t tmpfs -o mode=755 dev dev
  (cd /dev && cp -a fd full null random stderr stdin stdout tty urandom zero /mnt/root/dev/)
  : >etc/fstab  # the disks that it names are of another machine
  for place in run tmp home; do mount -t tmpfs -o mode=755 "$place" "$place"; done
  mkdir tmp/first tmp/old
  cp "$packages"/*.deb tmp/first/
  mv /mnt/later tmp/
  cp "$here"/inside.sh tmp/
  pivot_root . tmp/old
  umount -l /tmp/old
  rmdir /tmp/old
  mount --make-rshared /
  # utmp(5) says that a machine without systemd has come up to runlevel 2, so that scripts are run.
  { printf "\\1\\0\\0\\0002N\\0\\0"; head -c 376 /dev/zero; } >/run/utmp
  exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
    sh /tmp/inside.sh'
