#!/bin/sh
# image.sh DIRECTORY: makes there, unless they are made, the disk of a Debian 12 with systemd
# (root.img) and Debian's own kernel (linux), for `make test-boot` and `make test-package`. From the
# same archive as this machine's packages.
set -eu
recipe=$(sha256sum <"$0")
mkdir -p "$1"
cd "$1"
[ "$(cat recipe 2>/dev/null)" = "$recipe" ] && exit 0
rm -rf recipe tree root.img linux

archive=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' \
  'Origin: Debian' 'Codename: bookworm' 'Component: main' | head -n 1)
[ -n "$archive" ] || {
  echo "image.sh: apt's sources have no Debian 12 (bookworm); add it, and run apt-get update" >&2
  exit 1
}
echo "making a Debian in $1, once"
packages=dbus,e2fsprogs,gcc,init,kmod,libc6-dev,libcap2,libpam-systemd,linux-image-cloud-amd64
packages=$packages,login,pkg-config,procps,udev,util-linux
debootstrap --variant=minbase --include="$packages" bookworm tree "$archive" \
  >debootstrap.log 2>&1 || {
  tail -n 5 debootstrap.log >&2
  echo "image.sh: debootstrap failed; all it said is in $1/debootstrap.log" >&2
  exit 1
}
# What cannot be installed beside systemd's init, and what it needs.
mkdir tree/root/other-inits
(
  cd tree/root/other-inits
  apt-get download -qq -o APT::Sandbox::User=root \
    initscripts insserv libeinfo1 librc1 openrc startpar sysv-rc sysvinit-core
)

# The vaults are on a disk of their own. In a container it is mounted already, and systemd skips it.
echo '/dev/vda /home ext4 defaults 0 2' >tree/etc/fstab
echo boot >tree/etc/hostname
echo '127.0.0.1 localhost boot' >tree/etc/hosts
: >tree/etc/machine-id
echo LANG=C.UTF-8 >tree/etc/default/locale
# People have one console each, and root, who looks, a third.
for console in ttyS1 ttyS2; do
  ln -s /lib/systemd/system/serial-getty@.service \
    "tree/etc/systemd/system/getty.target.wants/serial-getty@$console.service"
done
# Nothing here is downloaded, trimmed or scrubbed.
for unit in apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer e2scrub_reap.service \
  fstrim.timer getty@tty1.service; do
  ln -sf /dev/null "tree/etc/systemd/system/$unit"
done
# Nobody is hurried: all of it may be emulated, beside somebody's build.
sed -i 's/^LOGIN_TIMEOUT.*/LOGIN_TIMEOUT 600/' tree/etc/login.defs
mkdir tree/etc/systemd/system.conf.d
cat >tree/etc/systemd/system.conf.d/patience.conf <<END
[Manager]
DefaultTimeoutStartSec=10min
DefaultTimeoutStopSec=10min
DefaultDeviceTimeoutSec=10min
END
echo root:root | chroot tree chpasswd
chroot tree useradd --create-home --shell /bin/bash alice
chroot tree useradd --create-home --shell /bin/bash bob
printf 'alice:correct horse\nbob:battery staple\n' | chroot tree chpasswd
rm -rf tree/var/cache/apt/archives/*.deb tree/var/lib/apt/lists/*
cp tree/boot/vmlinuz-* linux
rm tree/boot/initrd.img-*  # the disk's driver is in this kernel

truncate -s 2G root.img
mkfs.ext4 -q -L root -d tree root.img
rm -rf tree
echo "$recipe" >recipe
