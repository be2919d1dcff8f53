#!/bin/sh
# Paths, names of files and of accounts cross a module's boundary as bytes (FilePath), not as text:
# a String is repaired, and compares by canonical equivalence. This finds, line by line, declarations
# that others can see and that take, give or keep such a thing as a String; and text comparisons by
# grapheme anywhere in Sources. It knows words, not types: a path that is called something else passes.
set -u
cd "$(dirname "$0")/.." || exit 1

# DaemonStoreClient is for daemons, which name stores by text. Seccomp reads no file, and its callers
# refuse a policy's path that is not UTF-8. The bus has text alone, and paths of objects. The others are
# words of our own.
allowed() {
  grep -v -e '^Sources/DaemonStoreClient/' -e '^Sources/Seccomp/' -e '^Sources/DaemonStoreBus/' \
    -e ' var shown: String {' -e 'role.split(separator: "-")'
}

words='path|paths|root|place|directory|file|target|source|home|keyFile|link|shown|needles'
declarations=$(grep -nE "^ *(public|package) .*\b($words)\)?: *(\[?String|Set<String>)" \
  -r Sources --include='*.swift'
  grep -nE "^ *(public|package) .*func .*\b($words|names)\([^)]*\).*-> *(\[?String|Set<String>)" \
  -r Sources --include='*.swift'
  grep -nE "^ *(public|package) .*\b_ ($words): *String" -r Sources --include='*.swift')
# Lines of a parameter list that stands on lines of its own, of anything that is not private.
parameters=$(grep -nE "^    (_|[a-z]+)?( ?($words)): *(\[?String|Set<String>)" -r \
  Sources/DaemonStoreKernel Sources/MountAdvice Sources/DaemonStoreAccounts Sources/DaemonStore Sources/Cryptohome \
  Sources/Jail Sources/ServiceAudit --include='*.swift')
graphemes=$(grep -nE '\.hasPrefix\("|\.hasSuffix\("|split\(separator: "|\.contains\("' -r \
  Sources/DaemonStoreKernel Sources/MountAdvice Sources/DaemonStoreAccounts Sources/DaemonStore Sources/Cryptohome \
  Sources/cryptohome Sources/cryptohomed Sources/daemon-store --include='*.swift')

found=$(printf '%s\n%s\n%s\n' "$declarations" "$parameters" "$graphemes" | grep . | allowed | sort -u)
test -z "$found" && exit 0
printf '%s\n' "$found" >&2
echo "check-bytes: take a FilePath, or compare bytes (.utf8, KernelText); see docs/architecture.md" >&2
exit 1
