#!/bin/sh
# The life of the packages, as root of a machine of their own: see test.sh.
set -eu

# ---- How it is told ----------------------------------------------------------------------------

fail() {
  echo "FAILED: $*" >&2
  exit 1
}
step() { echo "-- $*"; }
# expect TEXT FILE: a line of FILE has TEXT.
expect() { grep -qF -- "$1" "$2" || { cat "$2" >&2; fail "nothing says: $1"; }; }
# silent FILE: nobody complained.
silent() { [ ! -s "$1" ] || { cat "$1" >&2; fail "something was said"; }; }
# eventually COMMAND: within a minute.
eventually() {
  for _ in $(seq 600); do
    if "$@"; then return 0; fi
    sleep 0.1
  done
  fail "not within a minute: $*"
}
# What a store is: its peer group, which a jail follows.
group() { grep " $1 " /proc/self/mountinfo | grep -o 'shared:[0-9]*'; }
# Every file, with its contents, but those that a system changes by itself.
files() {
  find / -xdev \( -path /tmp -o -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /home \
    -o -path /var/log -o -path /var/cache -o -path /var/lib/dpkg -o -path /var/backups \) -prune \
    -o \( -type f -exec sha256sum {} + \) -o -printf '%y %m %U %G %p %l\n' | sort -k 2
}

# ---- Before ------------------------------------------------------------------------------------

useradd --system --no-create-home notes
files >/tmp/before

# ---- Installed ---------------------------------------------------------------------------------

step install
install -d /etc/daemon-store
install -d -m 0700 -o notes -g notes /etc/daemon-store/notes
dpkg -i /tmp/first/*.deb >/tmp/out 2>/tmp/errors || { cat /tmp/out /tmp/errors >&2; fail "dpkg -i"; }
version=$(dpkg-query -W -f '${Version}' daemon-store)
for program in $(dpkg -L daemon-store | grep ^/usr/bin/); do
  [ "$("$program" --version)" = "$version" ] || fail "$program is not version $version"
done
getent group cryptohome >/dev/null || fail "there is no group cryptohome"
for file in common-auth common-session common-password; do
  expect pam_daemonstore.so "/etc/pam.d/$file"
done
! grep -q daemonstore /etc/pam.d/common-session-noninteractive \
  || fail "cron and the like would log in, too"
# This Debian has no manual pages.
systemd-analyze verify --man=no $(dpkg -L daemon-store | grep '/systemd/.*\.[a-z]*$' |
  sed "s/@\./@0123456789012345678901234567890123456789./") 2>/tmp/errors || fail "systemd-analyze"
silent /tmp/errors
for shell in $(dpkg -L daemon-store | grep '/bash-completion/completions/.'); do bash -n "$shell"; done
[ -n "$(group /run/daemon-store/notes)" ] || fail "the installation did not set up the store"

cat >/tmp/daemon.c <<'END'
#include <daemonstore.h>
#include <stdio.h>
int main(int argc, char **argv) {
  char path[DAEMONSTORE_PATH_SIZE] = "";
  daemonstore_path(DAEMONSTORE_DATA, "notes", argv[argc - 1], path, sizeof path);
  puts(path);
  return daemonstore_is_mounted(path);
}
END
cc -Wall -Wextra -Werror -o /tmp/daemon /tmp/daemon.c $(pkg-config --cflags --libs libdaemonstore)
hash=0123456789012345678901234567890123456789
[ "$(/tmp/daemon $hash)" = "/run/daemon-store/notes/$hash" ] || fail "the library does not work"
[ "$(pkg-config --modversion libdaemonstore)" = "$version" ] || fail "libdaemonstore is another version"

step 'log in, with a jail that follows its store'
cat >/usr/local/bin/notes-daemon <<'END'
#!/bin/sh
# Writes down whom it sees, as soon as it does.
for tick in $(seq 3000); do
  for folder in /run/daemon-store/notes/*; do
    [ -d "$folder" ] && [ ! -e "$folder/seen" ] && date >"$folder/seen"
  done
  sleep 0.1
done
END
chmod 755 /usr/local/bin/notes-daemon
minijail0 -u notes -g notes -l -p --uts --daemon-store notes -- /usr/local/bin/notes-daemon &
jail=$!
cryptohome mount alice --vault plain >/tmp/out
alice=$(cryptohome sanitize alice)
eventually test -e "/run/daemon-store/notes/$alice/seen"

# ---- Upgraded ----------------------------------------------------------------------------------

step 'upgrade, while both are there'
before=$(group /run/daemon-store/notes)
dpkg -i /tmp/later/*.deb >/tmp/out 2>/tmp/errors || { cat /tmp/out /tmp/errors >&2; fail "dpkg -i"; }
[ "$(dpkg-query -W -f '${Version}' daemon-store)" = "$version+later" ] || fail "not upgraded"
[ "$(group /run/daemon-store/notes)" = "$before" ] || fail "the store is another mount now"
kill -0 "$jail" || fail "the upgrade ended the jail"
rm "/run/daemon-store/notes/$alice/seen"
eventually test -e "/run/daemon-store/notes/$alice/seen"
cryptohome mount bob --vault plain >/tmp/out
bob=$(cryptohome sanitize bob)
eventually test -e "/run/daemon-store/notes/$bob/seen"
cryptohome unmount bob --wait 1m >/tmp/out

# ---- Not removed -----------------------------------------------------------------------------

step 'a removal that is given up leaves everything as it was'
prerm=/var/lib/dpkg/info/daemon-store.prerm
cp $prerm /tmp/prerm
echo 'exit 1' >>$prerm
dpkg -r daemon-store >/tmp/out 2>&1 && fail "a prerm that fails does not count"
cp /tmp/prerm $prerm
expect pam_daemonstore.so /etc/pam.d/common-session
[ "$(group /run/daemon-store/notes)" = "$before" ] || fail "the store is another mount now"
cryptohome mount alice >/tmp/out

# ---- Removed -----------------------------------------------------------------------------------

step 'remove, while a jail runs: what is free is locked, what is in use is named'
(
  cd "/run/daemon-store/notes/$alice"
  exec sleep 600
) &
holder=$!
eventually test /proc/$holder/cwd -ef "/run/daemon-store/notes/$alice"
dpkg -r $(dpkg-query -W -f '${Package}\n' '*daemon*store*') >/tmp/out 2>/tmp/errors ||
  { cat /tmp/out /tmp/errors >&2; fail "dpkg -r"; }
cat /tmp/errors
expect "$alice" /tmp/errors
expect 'follows a store' /tmp/errors
expect 'until the next boot' /tmp/errors
for file in /etc/pam.d/common-*; do
  ! grep -q daemonstore "$file" || fail "$file names a module that is gone"
done
kill "$holder" "$jail"
wait || true

step 'install again, and remove what nobody uses'
dpkg -i /tmp/first/*.deb >/tmp/out 2>/tmp/errors || { cat /tmp/out /tmp/errors >&2; fail "dpkg -i"; }
cryptohome unmount --all --wait 1m >/tmp/out
dpkg -r $(dpkg-query -W -f '${Package}\n' '*daemon*store*') >/tmp/out 2>/tmp/errors
silent /tmp/errors
! grep -E ' /run/daemon-store/|/home/(user|root)/' /proc/self/mountinfo || fail "mounts are left"

# ---- Purged ------------------------------------------------------------------------------------

step "purge: users' data stays, and it says where; nothing else does"
rmdir /etc/daemon-store/notes
dpkg -P $(dpkg-query -W -f '${Package}\n' '*daemon*store*') >/tmp/out 2>/tmp/errors
expect /home/.shadow /tmp/errors
expect /var/lib/system_salt /tmp/errors
[ -e "/home/.shadow/$alice/mount/root/notes/seen" ] || fail "the purge took users' data"
rm /usr/local/bin/notes-daemon
files >/tmp/after
# Groups are kept, as policy wants it, and so is the salt.
diff /tmp/before /tmp/after | grep '^[<>]' | grep -vE ' /etc/g(roup|shadow)-?$| /var/lib/system_salt$' \
  >/tmp/differences || true
[ ! -s /tmp/differences ] || { cat /tmp/differences >&2; fail "files are left, changed or gone"; }

step 'install after that: the data is there again'
install -d -m 0700 -o notes -g notes /etc/daemon-store/notes
dpkg -i /tmp/first/*.deb >/tmp/out 2>/tmp/errors || { cat /tmp/out /tmp/errors >&2; fail "dpkg -i"; }
cryptohome mount alice >/tmp/out
[ -e "/run/daemon-store/notes/$alice/seen" ] || fail "the old data is not shown"

# ---- Where nothing may be mounted --------------------------------------------------------------

step 'install without CAP_SYS_ADMIN: it says what does not work, is installed, and leaves nothing'
cryptohome unmount alice --wait 1m >/tmp/out
dpkg -P $(dpkg-query -W -f '${Package}\n' '*daemon*store*') >/tmp/out 2>&1
mv /home/.shadow /home/shadow
unable() { setpriv --bounding-set -sys_admin --inh-caps -sys_admin "$@"; }
unable dpkg -i /tmp/first/*.deb >/tmp/out 2>/tmp/errors ||
  { cat /tmp/out /tmp/errors >&2; fail "dpkg -i"; }
expect EPERM /tmp/errors
unable dpkg -r daemon-store >/tmp/out 2>/tmp/errors
! grep 'until the next boot' /tmp/errors || fail "nothing is mounted, and it says so"
kept=made-up dpkg -P daemon-store >/tmp/out 2>/tmp/errors
expect 'need it: /var/lib/system_salt' /tmp/errors
[ "$(ls -A /home)" = shadow ] || fail "empty folders are left in /home"
mv /home/shadow /home/.shadow
install -d -m 0700 -o notes -g notes /etc/daemon-store/notes
dpkg -i /tmp/first/*.deb >/tmp/out 2>&1 || { cat /tmp/out >&2; fail "dpkg -i"; }
cryptohome mount alice >/tmp/out

# ---- Without systemd ---------------------------------------------------------------------------

# asked COMMAND...: starts, repeats, tells, and does not stop, with alice's folder in place.
asked() {
  before=$(group /run/daemon-store/notes)
  "$@" start >/tmp/out 2>&1
  "$@" start >/tmp/out 2>&1
  "$@" status >/tmp/out
  "$@" restart >/tmp/out
  "$@" stop >/tmp/out 2>&1
  expect "cut off every daemon" /tmp/out
  [ "$(group /run/daemon-store/notes)" = "$before" ] || fail "$* has replaced the store"
  [ -e "/run/daemon-store/notes/$alice/seen" ] || fail "$* has taken the folder away"
}

step 'sysvinit: in its place in the boot, and harmless afterwards'
cd /root/other-inits
dpkg -i initscripts_* insserv_* startpar_* sysv-rc_* >/tmp/out 2>&1 || { cat /tmp/out >&2; fail "dpkg -i"; }
order=$(insserv --showall | sed -n 's/.*:S:\(mountall.sh\|daemon-store-startup\)$/\1/p' | tr '\n' ' ')
[ "$order" = "mountall.sh daemon-store-startup " ] || fail "the order in the boot is $order"
asked service daemon-store-startup
/etc/init.d/daemon-store-startup made-up 2>/tmp/errors && fail "a word that is none is taken"
expect usage: /tmp/errors

step 'OpenRC: the same'
dpkg -i libeinfo1_* librc1_* openrc_* >/tmp/out 2>&1 || { cat /tmp/out >&2; fail "dpkg -i"; }
cp /usr/share/doc/daemon-store/examples/openrc/daemon-store-startup /etc/init.d/
rc-update --update >/tmp/out
rc-service daemon-store-startup iuse >/tmp/uses
expect mountall /tmp/uses
mkdir -p /run/openrc
touch /run/openrc/softlevel # as after a boot; the scripts of this one are for a whole machine
asked rc-service --nodeps daemon-store-startup

cryptohome unmount alice --wait 1m >/tmp/out
echo "the packages install, upgrade, remove and purge as they should"
