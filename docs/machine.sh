# A machine of our own for a script that sources this: namespaces with a /run, /home, /var and
# /etc/daemon-store that nobody else sees, and that are gone at the end. Needs root.

if [ "${1-}" != inside ]; then
  exec unshare --mount --pid --fork --kill-child --mount-proc --propagation private \
    sh "$0" inside
fi

mount -t tmpfs -o mode=755 demo /mnt
mkdir /mnt/etc /mnt/etc/daemon-store
cp -a /etc/nsswitch.conf /etc/ld.so.cache /etc/alternatives /mnt/etc/
[ ! -d /etc/fonts ] || cp -a /etc/fonts /mnt/etc/ # for pictures
cat >/mnt/etc/passwd <<EOF
root:x:0:0:root:/root:/bin/sh
notesd:x:901:901:a daemon:/:/bin/false
photosd:x:902:902:a daemon:/:/bin/false
alice:x:1001:1001:Alice:/home/alice:/bin/sh
bob:x:1002:1002:Bob:/home/bob:/bin/sh
EOF
cat >/mnt/etc/group <<EOF
root:x:0:
notesd:x:901:
photosd:x:902:
alice:x:1001:
bob:x:1002:
EOF
mount --bind /mnt/etc /etc
umount /mnt
for directory in run home var; do mount -t tmpfs -o mode=755 demo "/$directory"; done
mkdir -p /var/lib /run/demo
mount --make-rshared / # as on a systemd host
