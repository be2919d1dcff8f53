#!/bin/sh
# The main job, from boot to logout, in namespaces of its own: with a /run, /home, /var and
# /etc/daemon-store that nobody else sees, and that are gone at the end. Needs root.
#
# It stops with status 1 as soon as anything is not as it says.
set -eu

. "$(dirname "$0")/machine.sh"

# ---- How it is told ----------------------------------------------------------------------------

if [ -t 1 ]; then bold=$(printf '\033[1m') plain=$(printf '\033[0m'); else bold='' plain=''; fi

title() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }

run() {
  printf '  $ %s\n' "$*"
  output=$("$@" 2>&1) || fail "$* ends with status $?: $output"
  [ -z "$output" ] || printf '%s\n' "$output" | sed 's/^/    /'
}

fail() {
  printf '\nNOT AS IT SHOULD BE: %s\n' "$*" >&2
  exit 1
}

# The daemon: it answers what it is asked, through a pipe, with what it sees from within its jail.
cat >/run/demo/daemon <<'EOF'
store=/run/daemon-store/$1
while read -r verb user text; do
  case $verb in
    look) for folder in "$store"/*; do [ -d "$folder" ] && printf '%s ' "${folder##*/}"; done; echo ;;
    write) if echo "$text" 2>/dev/null >"$store/$user/page"; then echo written; else echo refused; fi ;;
    read) cat "$store/$user/page" 2>/dev/null || echo nothing ;;
  esac
done
EOF

# start NAME: the daemon NAMEd, which runs as the user of that name, follows the store NAME.
start() {
  mkfifo "/run/demo/$1.ask" "/run/demo/$1.say"
  set -- "$1" minijail0 -u "$1d" -g "$1d" -l -e --uts -n --daemon-store "$1" -- \
    /bin/sh /run/demo/daemon "$1"
  name=$1
  shift
  printf '  $ %s &\n' "$*"
  "$@" <"/run/demo/$name.ask" >"/run/demo/$name.say" &
  case $name in
    notes) exec 3>"/run/demo/notes.ask" 4<"/run/demo/notes.say" ;;
    photos) exec 5>"/run/demo/photos.ask" 6<"/run/demo/photos.say" ;;
  esac
}

# ask NAME VERB [HASH TEXT]: sets $answer.
ask() {
  daemon=$1
  shift
  case $daemon in
    notes) echo "$*" >&3 && read -r answer <&4 ;;
    photos) echo "$*" >&5 && read -r answer <&6 ;;
  esac
}

# sees NAME HASH...: the daemon sees these users' folders, in this order, and no other.
sees() {
  daemon=$1
  shift
  ask "$daemon" look
  wanted=$(printf '%s\n' "$@" | sort | tr '\n' ' ')
  names=
  for hash in $answer; do
    case $hash in
      "$alice") names="$names alice" ;;
      "$bob") names="$names bob" ;;
      *) names="$names $hash" ;;
    esac
  done
  printf '    %sd sees:%s\n' "$daemon" "${names:- nobody}"
  [ "$(echo $answer)" = "$(echo $wanted)" ] || fail "$daemon sees '$answer', not '$wanted'"
}

# answers NAME EXPECTED VERB HASH [TEXT]
answers() {
  daemon=$1 expected=$2
  shift 2
  ask "$daemon" "$@"
  printf '    %sd, told to %s: %s\n' "$daemon" "$1" "$answer"
  [ "$answer" = "$expected" ] || fail "$daemon answers '$answer', not '$expected'"
}

# tree WHO MOUNTINFO: the stores and what is mounted in them, as the kernel has it.
tree() {
  printf '\n  %s\n' "$1"
  # In the order of the paths' components: a slash comes before any other character.
  tab=$(printf '\t')
  awk '{ key = $5; gsub("/", "\001", key); print key "\t" $0 }' "$2" \
    | LC_ALL=C sort -t "$tab" -k1,1 | cut -f2- | awk -v alice="$alice" -v bob="$bob" '
    $5 !~ "^/run/daemon-store" { next }
    {
      group = ""
      for (i = 7; $i != "-"; i++) group = group " " $i
      sub(/^ /, "", group); sub(/master:/, "slave of ", group)
      depth = gsub(/\//, "/", $5) - 2
      name = $5
      if (depth > 0) sub(/.*\//, "", name)
      if (name == alice) name = "alice"
      if (name == bob) name = "bob"
      if (depth == 1) directory = $5
      indent = sprintf("%" (2 * depth + 1) "s", "")
      # On the host nothing is mounted on the directory of the stores: it is named all the same.
      parent = directory; sub(/\/[^\/]*$/, "", parent)
      if (depth == 0) shown = $5
      if (depth == 1 && parent != shown) { shown = parent; printf "    %s\n", parent }
      options = $6; sub(/,relatime/, "", options)
      printf "    %-24s %-12s %s\n", substr(indent, 2) name, group, options
    }'
}

# ---- The job -----------------------------------------------------------------------------------

title 'Two packages bring a template each: all that counts is its owner and mode'
run install -d -m 0700 -o notesd -g notesd /etc/daemon-store/notes
run install -d -m 0750 -o photosd -g photosd /etc/daemon-store/photos

title 'Boot: each becomes a shared mount'
run daemon-store startup
alice=$(cryptohome sanitize alice)
bob=$(cryptohome sanitize bob)

title 'A daemon starts in its jail, before anybody has logged in'
start notes
sees notes
answers notes refused write "$alice" too-early

title 'alice logs in: her folder appears in the jail that runs already'
run cryptohome mount alice --vault plain
sees notes "$alice"
answers notes written write "$alice" dear diary
owner=$(stat -c '%U:%G %a' "/home/.shadow/$alice/mount/root/notes/page")
printf '    on the disk it is in /home/.shadow/…/mount/root/notes/page, of %s\n' "$owner"
case $owner in notesd:notesd*) ;; *) fail "the page belongs to $owner" ;; esac

title 'bob logs in'
run cryptohome mount bob --vault plain
sees notes "$alice" "$bob"

title 'A second daemon starts after both, and sees both, in its own store only'
start photos
sees photos "$alice" "$bob"
answers photos nothing read "$alice"
answers photos written write "$bob" sunset

title 'alice logs out: gone from both jails'
run cryptohome unmount alice
sees notes "$bob"
sees photos "$bob"
answers notes refused write "$alice" too late

title 'alice logs in again: her data is there'
run cryptohome mount alice
sees notes "$alice" "$bob"
sees photos "$alice" "$bob"
answers notes 'dear diary' read "$alice"
run cryptohome status

title 'The mounts as a tree: a slave follows the shared mount of the same number'
tree 'the host' /proc/self/mountinfo
tree notesd "/proc/$(pgrep -o -u notesd sh)/mountinfo"
tree photosd "/proc/$(pgrep -o -u photosd sh)/mountinfo"

title 'Everybody logs out'
run cryptohome unmount --all
sees notes
sees photos
exec 3>&- 5>&-
wait
left=$(grep -c "/\.shadow/" /proc/self/mountinfo || true)
[ "$left" = 0 ] || fail "$left mounts of users are left"
title 'Done: everything was as it says.'
