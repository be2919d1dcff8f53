#!/bin/sh
# Prints what the compiler's programs cost, beside the reference's layout and, where libseccomp-dev
# is installed, beside libseccomp. Run it in the package's folder.
set -eu
swift build -c release --product seccomp-benchmark
program=.build/release/seccomp-benchmark
policies=$(wc -l Benchmarks/policies/*.policy | sort -n | awk '/policy$/ { print $2 }')
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if cc -O -o "$work/libseccomp" Benchmarks/libseccomp.c -lseccomp 2>/dev/null; then
  for policy in $policies; do
    "$program" --rules "$policy" | "$work/libseccomp" > "$work/$(basename "$policy" .policy).bpf"
  done
fi
"$program" --against "$work" $policies
