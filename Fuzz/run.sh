#!/bin/sh
# Runs the fuzz targets that Fuzz/build.sh has built, one after the other, and says of each how many
# inputs were tried and what was found. A finding is kept in .build/fuzz/found.
#
# usage: Fuzz/run.sh SECONDS [RUNS [TARGET...]], each target at most that long and as many inputs.
set -u
cd "$(dirname "$0")/.." || exit
seconds=$1
runs=${2:--1}
[ $# -gt 2 ] && shift 2 || set -- baseline bus command config mountinfo name option policy preload \
  process program request session settings trace vault
out=$PWD/.build/fuzz
seed=${FUZZ_SEED:-$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}
# cryptohomed makes its directories in /run, and the salt in /home: these are empty, and not the host's.
apart() {
  user=
  [ "$(id -u)" = 0 ] || user="--user --map-root-user"
  # shellcheck disable=SC2086  # words, or none
  unshare $user --mount --pid --fork --kill-child --mount-proc sh -c \
    'for place in /run /home /var/lib; do mount -t tmpfs -o mode=0755 none $place || exit; done
    head -c 16 /dev/urandom >/var/lib/system_salt && chmod 600 /var/lib/system_salt
    "$@"; exit $?' sh "$@"
}
mkdir -p "$out/found" "$out/targets"
echo "fuzz: seed $seed (FUZZ_SEED)"
status=0
for target; do
  [ "$target" = preload ] && program=preload || program=fuzz
  ln -sf "../$program" "$out/targets/$target"
  mkdir -p "$out/corpus/$target"
  dictionary=
  [ -e "Fuzz/dictionaries/$target" ] && dictionary="-dict=Fuzz/dictionaries/$target"
  more=
  [ "$target" = policy ] && more=Benchmarks/policies
  how=
  [ "$target" = bus ] && how=apart
  # shellcheck disable=SC2086  # each is one word or none
  $how "$out/targets/$target" -seed="$seed" -runs="$runs" -max_total_time="$seconds" -timeout=10 \
    -rss_limit_mb=2048 -max_len=4096 -print_funcs=0 -artifact_prefix="$out/found/$target-" $dictionary \
    "$out/corpus/$target" "Fuzz/corpus/$target" $more >"$out/$target.log" 2>&1
  end=$?
  count=$(sed -n 's/^Done \([0-9]*\) runs.*/\1/p' "$out/$target.log")
  if [ $end -eq 0 ]; then
    echo "fuzz: $target: ${count:-0} inputs, nothing found"
  else
    echo "fuzz: $target: found a failure (status $end); see .build/fuzz/$target.log" >&2
    tail -n 20 "$out/$target.log" >&2
    status=1
  fi
done
exit $status
