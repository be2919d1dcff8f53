// swift-tools-version: 6.2
import PackageDescription

let strict: [SwiftSetting] = [.treatAllWarnings(as: .error)]

/// A release is linked with the Swift, C++ and GCC libraries inside (docs/decisions/0003): a
/// program then needs nothing but libc, and starts in a third of the time.
let release: [LinkerSetting] = [
  .unsafeFlags(
    [
      "-use-ld=lld", "-L\(Context.packageDirectory)/Sources/CLinux/link",
      "-Xclang-linker", "-static-libgcc", "-Xlinker", "-z", "-Xlinker", "now",
    ], .when(configuration: .release))
]

/// For the file that has the service: its relocations, packed, are pages that it does not keep.
let resident: [LinkerSetting] = [
  .unsafeFlags(
    ["-Xlinker", "-z", "-Xlinker", "pack-relative-relocs"], .when(configuration: .release))
]

let argumentParser = Target.Dependency.product(
  name: "ArgumentParser", package: "swift-argument-parser")
let crypto = Target.Dependency.product(name: "Crypto", package: "swift-crypto")
let cryptoExtras = Target.Dependency.product(name: "CryptoExtras", package: "swift-crypto")
let protobuf = Target.Dependency.product(name: "SwiftProtobuf", package: "swift-protobuf")

let package = Package(
  name: "daemon-store",
  products: [
    .executable(name: "daemon-store", targets: ["daemon-store"]),
    .executable(name: "minijail0", targets: ["minijail0"]),
    .library(name: "Jail", targets: ["Jail"]),
    .library(name: "DaemonStoreClient", targets: ["DaemonStoreClient"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", exact: "1.8.2"),
    .package(url: "https://github.com/apple/swift-crypto", exact: "4.5.2"),
    // Without its traits, which would bring all of Foundation.
    .package(url: "https://github.com/apple/swift-protobuf", exact: "1.39.0", traits: []),
  ],
  targets: [
    // C: what Swift cannot call.
    .target(name: "CLinux", exclude: ["link"]),
    .systemLibrary(name: "CLibmount", providers: [.apt(["libmount-dev"])]),
    .systemLibrary(name: "CLibcap", providers: [.apt(["libcap-dev"])]),
    .target(name: "CSystemd"),

    // Safe Swift over the system.
    .target(name: "Kernel", dependencies: ["CLinux"], swiftSettings: strict),
    .target(
      name: "MountTable", dependencies: ["CLinux", "Kernel"], swiftSettings: strict),
    .target(name: "Accounts", dependencies: ["CLinux", "Kernel"], swiftSettings: strict),

    .target(name: "Bus", dependencies: ["CSystemd", "Kernel"], swiftSettings: strict),

    // Pure: policy text to syntax tree to program.
    .target(name: "Seccomp", exclude: ["Tables/generate.py"], swiftSettings: strict),

    // The domain.
    .target(
      name: "DaemonStore",
      dependencies: ["Accounts", "CLinux", "DaemonStoreClient", "Kernel", "MountTable"],
      swiftSettings: strict),
    .target(
      name: "Cryptohome",
      dependencies: [
        "Accounts", "CLinux", "DaemonStore", "Kernel", "MountTable", crypto, cryptoExtras,
      ],
      swiftSettings: strict),
    .target(
      name: "Jail", dependencies: ["Accounts", "CLibcap", "CLinux", "Kernel", "Seccomp"],
      swiftSettings: strict, linkerSettings: [.linkedLibrary(":libcap.a")]),
    .target(
      name: "ServiceAudit", dependencies: ["Accounts", "CLibcap", "Kernel"],
      swiftSettings: strict, linkerSettings: [.linkedLibrary(":libcap.a")]),

    // For daemon authors: C, which the Makefile also makes a library of, and the same in Swift.
    .target(
      name: "CDaemonStore", path: "Sources/libdaemonstore",
      exclude: ["libdaemonstore.map", "libdaemonstore.pc.in"]),
    .target(name: "DaemonStoreClient", dependencies: ["CDaemonStore"], swiftSettings: strict),

    // Programs: parse arguments, call, print.
    .target(
      name: "Program", dependencies: ["CLinux", "Kernel", argumentParser], swiftSettings: strict),
    .target(
      name: "cryptohome",
      dependencies: [
        "Accounts", "CLinux", "Cryptohome", "DaemonStore", "Kernel", "Program", argumentParser,
      ],
      swiftSettings: strict),
    .target(
      name: "cryptohomed",
      dependencies: [
        "Bus", "CLinux", "Cryptohome", "DaemonStore", "Kernel", "Program", "Seccomp",
        argumentParser, protobuf,
      ],
      exclude: ["UserDataAuth.proto"], resources: [.embedInCode("cryptohomed.policy")],
      swiftSettings: strict),
    .target(
      name: "seccomp-policy",
      dependencies: ["CLinux", "Kernel", "Program", "Seccomp", argumentParser],
      swiftSettings: strict),
    .target(
      name: "sandboxed-services",
      dependencies: ["Kernel", "Program", "ServiceAudit", argumentParser],
      swiftSettings: strict),
    // One file for these programs (docs/decisions/0050): the Makefile links the others' names to it.
    .executableTarget(
      name: "daemon-store",
      dependencies: [
        "Accounts", "Bus", "CLinux", "Cryptohome", "DaemonStore", "Kernel", "Program", "cryptohome",
        "cryptohomed", "sandboxed-services", "seccomp-policy", argumentParser,
      ],
      swiftSettings: strict, linkerSettings: release + resident),
    .executableTarget(
      name: "minijail0", dependencies: ["CLinux", "Jail"], swiftSettings: strict,
      linkerSettings: release),

    // Not a product: what the compiler's programs cost, beside the reference's layout.
    .executableTarget(
      name: "seccomp-benchmark", dependencies: ["Seccomp"], path: "Benchmarks/seccomp",
      swiftSettings: strict),

    // Tests. TestSupport is a test target, so that no release builds it.
    .testTarget(name: "TestSupport", dependencies: ["CLinux", "Kernel"], swiftSettings: strict),
    .testTarget(
      name: "KernelTests", dependencies: ["CLinux", "Kernel", "TestSupport"],
      swiftSettings: strict),
    .testTarget(
      name: "MountTableTests",
      // libmount, to compare with.
      dependencies: ["CLibmount", "Kernel", "MountTable", "TestSupport"], swiftSettings: strict),
    .testTarget(
      name: "DaemonStoreTests",
      dependencies: ["CLinux", "DaemonStore", "Kernel", "MountTable", "TestSupport"],
      swiftSettings: strict),
    .testTarget(
      name: "CryptohomeTests",
      dependencies: ["Cryptohome", "DaemonStore", "Kernel", "MountTable", "TestSupport"],
      swiftSettings: strict),
    .testTarget(
      name: "SeccompTests", dependencies: ["CLinux", "Kernel", "Seccomp", "TestSupport"],
      swiftSettings: strict),
    .testTarget(
      name: "JailTests",
      dependencies: ["Accounts", "CLinux", "Jail", "Kernel", "Seccomp", "TestSupport"],
      swiftSettings: strict),
    .testTarget(
      name: "ServiceAuditTests", dependencies: ["Kernel", "ServiceAudit"], swiftSettings: strict),
    .testTarget(
      name: "DaemonStoreClientTests",
      dependencies: ["CDaemonStore", "CLinux", "DaemonStoreClient", "Kernel", "TestSupport"],
      swiftSettings: strict),
    .testTarget(
      name: "CommandLineTests",
      dependencies: ["CLinux", "DaemonStoreClient", "Kernel", "TestSupport"],
      path: "Tests",
      exclude: ["Boot", "Campaigns", "Package", "Sanitized", "CommandLineTests/Bus/client.py"],
      // The attacks are tests of the same programs, on the same machines.
      sources: ["CommandLineTests", "Attack"], swiftSettings: strict),
  ]
)
