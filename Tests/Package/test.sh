#!/bin/sh
# test.sh PACKAGES DIRECTORY: installs the packages in PACKAGES in a Debian 12 of their own, upgrades
# them while a jail runs and a user is logged in, removes and purges them, and compares the files with
# those from before. The Debian is made in DIRECTORY, once. Needs root; mounts in a namespace of its own.
set -eu

packages=$(cd "$1" && pwd)
mkdir -p "$2"
directory=$(cd "$2" && pwd)
here=$(cd "$(dirname "$0")" && pwd)

made_of=dbus,gcc,libc6-dev,pkg-config,systemd,sysvinit-core,util-linux
if [ "$(cat "$directory/made-of" 2>/dev/null)" != "$made_of" ]; then
  archive=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' \
    'Origin: Debian' 'Codename: bookworm' 'Component: main' | head -n 1)
  [ -n "$archive" ] || {
    echo "test.sh: apt's sources have no Debian 12 (bookworm); add it, and run apt-get update" >&2
    exit 1
  }
  echo "making a Debian in $directory"
  rm -rf "$directory/made-of" "$directory/debian"
  debootstrap --variant=minbase --include="$made_of" bookworm "$directory/debian" "$archive" \
    >"$directory/debootstrap.log" 2>&1 || {
    tail -n 5 "$directory/debootstrap.log" >&2
    echo "test.sh: debootstrap failed; all it said is in $directory/debootstrap.log" >&2
    exit 1
  }
  echo "$made_of" >"$directory/made-of"
fi

# A later version: the same files, and another number.
rm -rf "$directory/later"
mkdir "$directory/later"
for package in "$packages"/*.deb; do
  dpkg-deb -R "$package" "$directory/later/tree"
  sed -i 's/^Version: .*/&+later/; s/(= [^)]*/&+later/' "$directory/later/tree/DEBIAN/control"
  dpkg-deb -Z none -b "$directory/later/tree" "$directory/later/${package##*/}" >/dev/null
  rm -rf "$directory/later/tree"
done

export packages directory here
exec unshare --mount --pid --fork --kill-child --uts --ipc --propagation private sh -eu -c '
  mount -t tmpfs -o mode=755 package-test /mnt
  mkdir /mnt/upper /mnt/work /mnt/root
  mount -t overlay -o "lowerdir=$directory/debian,upperdir=/mnt/upper,workdir=/mnt/work" debian /mnt/root
  cd /mnt/root
  mount -t proc proc proc
  mount -t sysfs -o ro sys sys
  mount --rbind /dev dev
  for place in run tmp home; do mount -t tmpfs -o mode=755 "$place" "$place"; done
  mkdir tmp/first tmp/later tmp/old
  cp "$packages"/*.deb tmp/first/
  cp "$directory"/later/*.deb tmp/later/
  cp "$here/inside.sh" tmp/
  pivot_root . tmp/old
  umount -l /tmp/old
  rmdir /tmp/old
  mount --make-rshared /
  # utmp(5) says that a machine without systemd has come up to runlevel 2, so that scripts are run.
  { printf "\\1\\0\\0\\0002N\\0\\0"; head -c 376 /dev/zero; } >/run/utmp
  exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
    sh /tmp/inside.sh'
