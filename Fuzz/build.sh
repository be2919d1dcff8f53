#!/bin/sh
# Builds the fuzz targets: one program that each target is a name of. The modules are compiled once
# more, with coverage and AddressSanitizer: SwiftPM would compile all dependencies so, and the
# programs, whose main functions are in the way of libFuzzer's.
#
# usage: Fuzz/build.sh [DIRECTORY], where `swift build` has put the dependencies.
set -eu
cd "$(dirname "$0")/.."
built=${1:-.build/debug}
out=.build/fuzz
clang=$(dirname "$(readlink -f "$(command -v swiftc)")")/clang
mkdir -p $out/modules $out/objects
cat >$out/modules/module.modulemap <<END
module CDaemonStoreLinux { umbrella "$PWD/Sources/CDaemonStoreLinux/include" export * }
module CDaemonStore { umbrella "$PWD/Sources/libdaemonstore/include" export * }
module CDaemonStoreLibcap [system] { header "$PWD/Sources/CDaemonStoreLibcap/shim.h" export * }
module CSystemd { umbrella "$PWD/Sources/CSystemd/include" export * }
END

# Those that are linked: an older build may have left others.
objects=
for file in Sources/CDaemonStoreLinux/*.c Sources/CSystemd/*.c Sources/libdaemonstore/daemonstore.c; do
  object=$out/objects/$(basename "$file").o
  objects="$objects $object"
  # shellcheck disable=SC3013  # every sh of Debian's has it
  [ "$object" -nt "$file" ] || "$clang" -std=c11 -g -O1 -fsanitize=address,undefined,fuzzer-no-link \
    -fno-sanitize-recover=undefined -ISources/CDaemonStoreLinux/include -ISources/CSystemd/include -ISources/libdaemonstore/include \
    -c "$file" -o "$object"
done

# compile MODULE FILE...: nothing where the module, and all before it, are newer than the files.
changed=
compile() {
  module=$1
  shift
  object=$out/objects/$module.o
  objects="$objects $object"
  if [ -z "$changed" ] && [ -e "$object" ] && [ -z "$(find "$@" -newer "$object")" ]; then return; fi
  changed=yes
  echo "fuzz: compiling $module"
  # The policy compiler alone takes long enough for its speed to count.
  level=-Onone
  [ "$module" != Seccomp ] || level=-O
  swiftc $level -wmo -package-name daemon_store -parse-as-library -enable-testing -sanitize=fuzzer,address \
    -I $out/modules -I "$built/Modules" -module-name "$module" -emit-module \
    -emit-module-path "$out/modules/$module.swiftmodule" -c -o "$object" "$@"
}
for module in DaemonStoreKernel MountAdvice DaemonStoreAccounts Seccomp DaemonStoreClient DaemonStore Jail ServiceAudit \
  Cryptohome DaemonStoreBus DaemonStoreProgram; do
  # shellcheck disable=SC2046  # no name of ours has a blank in it
  compile $module $(find Sources/$module -name '*.swift' | sort)
done
# shellcheck disable=SC2046
compile cryptohomed $(find Sources/cryptohomed -name '*.swift' ! -name CryptohomedProgram.swift \
  ! -name Confinement.swift | sort)
compile Fuzz Fuzz/*.swift

for library in Crypto CryptoExtras CryptoBoringWrapper CCryptoBoringSSL CCryptoBoringSSLShims CXKCP \
  CXKCPShims SwiftASN1 SwiftProtobuf ArgumentParser ArgumentParserToolInfo; do
  find "$built/$library.build/" -name '*.o' -printf '"%p"\n' 2>/dev/null || true
done >$out/libraries
# shellcheck disable=SC2086  # one word for each
swiftc -use-ld=lld -sanitize=fuzzer,address -o $out/fuzz $objects @$out/libraries -l:libcap.a -lsystemd -lstdc++
"$clang" -fuse-ld=lld -std=c11 -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined \
  -o $out/preload Fuzz/preload.c -ldl
