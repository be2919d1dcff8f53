#!/bin/sh
# Shows how folders spread in a real run: two stores, two users, two daemons in jails, and two
# processes that have the stores without having asked for them. Prints daemon-store tree in the format
# of the variable FORMAT. Everything happens in namespaces of its own. Needs root.
set -eu

. "$(dirname "$0")/machine.sh"

install -d -m 0700 -o notesd -g notesd /etc/daemon-store/notes
install -d -m 0750 -o photosd -g photosd /etc/daemon-store/photos
printf 0123456789abcdef >/var/lib/system_salt # the same names in each run
daemon-store startup >/dev/null

# jail NAME: the daemon NAMEd, in a jail that follows the store NAME.
jail() {
  cp /bin/sleep "/var/lib/$1d"
  minijail0 -u "$1d" -g "$1d" -l -e --uts -n --daemon-store "$1" -- "/var/lib/$1d" 1000 &
  until pgrep -x -u "$1d" "$1d" >/dev/null; do sleep 0.01; done
}

# other NAME PROPAGATION: a process with a mount namespace that it got with everything in it.
other() {
  cp /bin/sleep "/var/lib/$1"
  unshare --mount --propagation "$2" "/var/lib/$1" 1000 &
  until [ "$(cat "/proc/$!/comm")" = "$1" ]; do sleep 0.01; done
}

jail notes
cryptohome mount alice --vault plain >/dev/null
jail photos
other service slave
other shell private
cryptohome mount bob --vault plain >/dev/null

daemon-store tree --format "${FORMAT:-text}"
