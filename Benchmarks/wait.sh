#!/bin/sh
# How long daemon-store wait takes from the mount to its end, with 5,000 mounts present, on the host and
# in a jail: beside the least that a program can do, and beside findmnt --poll, which reads the table.
# In namespaces of its own; needs root, and the release in PATH.
set -eu

if [ "${1-}" != inside ]; then
  WAIT=$(mktemp) # of the machine's own /tmp
  export WAIT
  trap 'rm -f "$WAIT"' EXIT
  cc -O2 -Wall -Wextra -Werror -o "$WAIT" "$(dirname "$0")/wait.c"
  unshare --mount --propagation private sh "$0" inside
  exit
fi

mounts=${MOUNTS:-5000} rounds=${ROUNDS:-51}
for directory in run var; do mount -t tmpfs -o mode=755 bench "/$directory"; done
mount --make-rshared /
mkdir -p /run/many /run/daemon-store/notes
python3 - "$mounts" <<'END'
import ctypes, os, sys
mount = ctypes.CDLL(None, use_errno=True).mount
for number in range(int(sys.argv[1])):
    place = b"/run/many/%d" % number
    os.mkdir(place)
    if mount(b"/var", place, None, 4096, None) != 0:
        sys.exit(f"mount {number}: {os.strerror(ctypes.get_errno())}")
END
mount --bind /run/daemon-store/notes /run/daemon-store/notes
hash=0123456789012345678901234567890123456789
folder=/run/daemon-store/notes/$hash
program=$(command -v daemon-store)
findmnt=$(command -v findmnt)

echo "From mount(2) to the end of who waits for it, $mounts mounts present, $rounds times, in"
echo "microseconds: the median, the longest, and mount(2) alone."
measure() {
  printf '%-10s  %-20s' "$load$place" "$1"
  shift
  "$WAIT" measure "$rounds" "$place" "$folder" "$@"
}
compare() {
  measure 'C, the least' "$WAIT" floor "$folder"
  measure 'daemon-store wait' "$program" wait notes "$hash"
  rounds=$(((rounds + 4) / 5)) measure 'findmnt --poll' \
    "$findmnt" --poll=mount --first-only "$folder"
}
load=
for place in host jail; do compare; done
# With twice as many at work as there are processors.
load='busy '
spinning=
for _ in $(seq $((2 * $(nproc)))); do
  setpriv --pdeathsig KILL sh -c 'while :; do :; done' &
  spinning="$spinning $!"
done
trap 'kill $spinning' EXIT
for place in host jail; do compare; done
