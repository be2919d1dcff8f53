#!/bin/sh
# full.sh: runs what takes long, stage by stage, as `make test-full` does. A stage that has passed with these
# sources is not run again, so an interrupted run is continued by the same command. What each stage was, how
# long it took and how it ended is in .build/full/VERSION/log.md, in the form of docs/tested.md.
set -u
cd "$(dirname "$0")/../.." || exit
version=$(git rev-parse --short=12 HEAD 2>/dev/null || echo tree)
changes=$(git diff HEAD 2>/dev/null | sha256sum | cut -c 1-8)
[ -z "$(git diff HEAD 2>/dev/null | head -c 1)" ] || version=$version-$changes
place=.build/full/$version
mkdir -p "$place" || exit
log=$place/log.md
echo "test-full: $version, with its log in $log"

# stage NAME COMMAND...
stage() {
  name=$1
  shift
  if [ -e "$place/$name.passed" ]; then
    echo "test-full: $name has passed before"
    return
  fi
  echo "test-full: $name: $*"
  start=$(date +%s)
  "$@"
  status=$?
  result=passed
  [ $status -eq 0 ] || result="failed ($status)"
  echo "| $(date +%F) | $version | $(uname -r) $(uname -m) | $name | $(($(date +%s) - start)) s | $result |" >>"$log"
  [ $status -ne 0 ] || : >"$place/$name.passed"
  [ $status -eq 0 ] || failed="${failed-} $name"
}

stage package make test-package
stage boot make test-boot
stage flood make flood
stage soak make soak SOAK_SECONDS=1800
# The model in pieces, each with a seed that it prints.
for part in 1 2 3 4 5 6 7 8 9 10; do
  stage "model-$part" make model MODEL_STEPS=10000
done
stage fuzz make fuzz
# Each case that has been judged is in this log, and is not tried again.
stage faults make faults FAULTS_LOG="$place/faults.jsonl"
cat "$log"
[ -z "${failed-}" ] || {
  echo "test-full: failed:$failed; the same command tries these again" >&2
  exit 1
}
echo "test-full: passed; add these lines to docs/tested.md"
