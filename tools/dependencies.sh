#!/bin/sh
# Checks that this system has what a build needs, and says what to install where something is missing.
# Installs nothing. Exit status: 0 all is there, 1 something is missing and named.
set -u
LC_ALL=C
export LC_ALL

# What is looked for | apt | dnf | pacman | apk | zypper
needed() {
  cat <<'END'
command:make|make|make|make|make|make
command:cc|gcc|gcc|gcc|gcc|gcc
command:strip|binutils|binutils|binutils|binutils|binutils
header:stdio.h|libc6-dev|glibc-devel|glibc|musl-dev|glibc-devel
header:sys/capability.h|libcap-dev|libcap-devel|libcap|libcap-dev|libcap-devel
archive:libcap.a|libcap-dev|libcap-static|libcap|libcap-static|libcap-devel-static
header:libmount/libmount.h|libmount-dev|libmount-devel|util-linux-libs|util-linux-dev|libmount-devel
header:systemd/sd-bus.h|libsystemd-dev|systemd-devel|systemd-libs|elogind-dev|systemd-devel
header:security/pam_modules.h|libpam0g-dev|pam-devel|pam|linux-pam-dev|pam-devel
archive:libstdc++.a|libstdc++-GCC-dev|libstdc++-static|gcc|libstdc++-dev|gcc-c++
END
}

# The number in the name of Debian's package of the C++ library.
gcc_version() { cc -dumpversion 2>/dev/null | cut -d. -f1 | grep . || echo 12; }

has() {
  case $1 in
    command:*) command -v "${1#command:}" >/dev/null ;;
    header:*) echo "#include <${1#header:}>" | cc -E -x c - >/dev/null 2>&1 ;;
    archive:*)
      file=$(cc -print-file-name="${1#archive:}" 2>/dev/null)
      [ "$file" != "${1#archive:}" ] && [ -e "$file" ]
      ;;
  esac
}

manager() {
  for name in apt-get dnf pacman apk zypper; do
    if command -v "$name" >/dev/null; then
      echo "$name"
      return
    fi
  done
}

# The number of the manager's column, and how it installs.
case $(manager) in
  apt-get) column=2 install="apt-get install" ;;
  dnf) column=3 install="dnf install" ;;
  pacman) column=4 install="pacman -S" ;;
  apk) column=5 install="apk add" ;;
  zypper) column=6 install="zypper install" ;;
  *) column=2 install="install, under the names of your distribution (these are Debian's):" ;;
esac

missing=
packages=
while IFS= read -r line; do
  check=${line%%|*}
  has "$check" && continue
  missing="$missing ${check#*:}"
  package=$(echo "$line" | cut -d'|' -f$column | sed "s/GCC/$(gcc_version)/")
  case " $packages " in
    *" $package "*) ;;
    *) packages="$packages $package" ;;
  esac
done <<END
$(needed)
END

status=0
if [ -n "$missing" ]; then
  echo "missing:$missing" >&2
  echo "install them as root with: $install$packages" >&2
  status=1
fi
if ! command -v "${SWIFT:-swift}" >/dev/null; then
  echo "missing: swift; install Swift 6.3 from https://www.swift.org/install/linux/" >&2
  status=1
fi
exit $status
