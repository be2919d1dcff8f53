// swift-tools-version: 6.2
import PackageDescription

let strict: [SwiftSetting] = [.treatAllWarnings(as: .error)]

/// A release is linked with the Swift, C++ and GCC libraries inside (docs/decisions/0003): a
/// program then needs nothing but libc, and starts in a third of the time.
let release: [LinkerSetting] = [
  .unsafeFlags(
    [
      "-use-ld=lld", "-L\(Context.packageDirectory)/Sources/CDaemonStoreLinux/link",
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
    // With the modules whose types are in its declarations.
    .library(name: "Jail", targets: ["Jail", "DaemonStoreKernel", "Seccomp"]),
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
    .target(name: "CDaemonStoreLinux", exclude: ["link"]),
    .systemLibrary(name: "CLibmount", providers: [.apt(["libmount-dev"])]),
    .systemLibrary(name: "CDaemonStoreLibcap", providers: [.apt(["libcap-dev"])]),
    .target(name: "CSystemd"),

    // Safe Swift over the system.
    .target(name: "DaemonStoreKernel", dependencies: ["CDaemonStoreLinux"], swiftSettings: strict),
    .target(
      name: "DaemonStoreAccounts", dependencies: ["CDaemonStoreLinux", "DaemonStoreKernel"],
      swiftSettings: strict),
    // libmount, opened by the commands that give advice.
    .target(name: "MountAdvice", dependencies: ["DaemonStoreKernel"], swiftSettings: strict),

    .target(
      name: "DaemonStoreBus", dependencies: ["CSystemd", "DaemonStoreKernel"], swiftSettings: strict
    ),

    // Pure: policy text to syntax tree to program.
    .target(name: "Seccomp", exclude: ["Tables/generate.py"], swiftSettings: strict),

    // The domain.
    .target(
      name: "DaemonStore",
      dependencies: [
        "DaemonStoreAccounts", "CDaemonStoreLinux", "DaemonStoreClient", "DaemonStoreKernel",
      ],
      swiftSettings: strict),
    .target(
      name: "Cryptohome",
      dependencies: [
        "DaemonStoreAccounts", "CDaemonStoreLinux", "DaemonStore", "DaemonStoreKernel",
        "MountAdvice", crypto, cryptoExtras,
      ],
      swiftSettings: strict),
    .target(
      name: "Jail",
      dependencies: [
        "DaemonStoreAccounts", "CDaemonStoreLibcap", "CDaemonStoreLinux", "DaemonStoreKernel",
        "Seccomp",
      ],
      swiftSettings: strict, linkerSettings: [.linkedLibrary(":libcap.a")]),
    .target(
      name: "ServiceAudit",
      dependencies: ["DaemonStoreAccounts", "CDaemonStoreLibcap", "DaemonStoreKernel"],
      swiftSettings: strict, linkerSettings: [.linkedLibrary(":libcap.a")]),

    // For daemon authors: C, which the Makefile also makes a library of, and the same in Swift.
    .target(
      name: "CDaemonStore", path: "Sources/libdaemonstore",
      exclude: ["libdaemonstore.map", "libdaemonstore.pc.in"]),
    .target(name: "DaemonStoreClient", dependencies: ["CDaemonStore"], swiftSettings: strict),

    // Programs: parse arguments, call, print.
    .target(
      name: "DaemonStoreProgram",
      dependencies: ["CDaemonStoreLinux", "DaemonStoreKernel", argumentParser],
      swiftSettings: strict),
    .target(
      name: "cryptohome",
      dependencies: [
        "DaemonStoreAccounts", "CDaemonStoreLinux", "Cryptohome", "DaemonStore",
        "DaemonStoreKernel", "DaemonStoreProgram", argumentParser,
      ],
      swiftSettings: strict),
    .target(
      name: "cryptohomed",
      dependencies: [
        "DaemonStoreBus", "CDaemonStoreLinux", "Cryptohome", "DaemonStore", "DaemonStoreKernel",
        "DaemonStoreProgram", "Seccomp",
        argumentParser, protobuf,
      ],
      exclude: ["UserDataAuth.proto"], resources: [.embedInCode("cryptohomed.policy")],
      swiftSettings: strict),
    .target(
      name: "seccomp-policy",
      dependencies: [
        "CDaemonStoreLinux", "DaemonStoreKernel", "DaemonStoreProgram", "Seccomp", argumentParser,
      ],
      swiftSettings: strict),
    .target(
      name: "sandboxed-services",
      dependencies: ["DaemonStoreKernel", "DaemonStoreProgram", "ServiceAudit", argumentParser],
      swiftSettings: strict),
    // One file for these programs (docs/decisions/0050): the Makefile links the others' names to it.
    .executableTarget(
      name: "daemon-store",
      dependencies: [
        "DaemonStoreAccounts", "DaemonStoreBus", "CDaemonStoreLinux", "Cryptohome", "DaemonStore",
        "DaemonStoreKernel", "DaemonStoreProgram", "cryptohome",
        "cryptohomed", "sandboxed-services", "seccomp-policy", argumentParser,
      ],
      swiftSettings: strict, linkerSettings: release + resident),
    .executableTarget(
      name: "minijail0", dependencies: ["CDaemonStoreLinux", "Jail"], swiftSettings: strict,
      linkerSettings: release),

    // Not a product: what the compiler's programs cost, beside the reference's layout.
    .executableTarget(
      name: "seccomp-benchmark", dependencies: ["Seccomp"], path: "Benchmarks/seccomp",
      swiftSettings: strict),

    // Tests. TestSupport is a test target, so that no release builds it.
    .testTarget(
      name: "TestSupport", dependencies: ["CDaemonStoreLinux", "DaemonStoreKernel"],
      swiftSettings: strict),
    .testTarget(
      name: "KernelTests", dependencies: ["CDaemonStoreLinux", "DaemonStoreKernel", "TestSupport"],
      swiftSettings: strict),
    .testTarget(
      name: "MountTests",
      // libmount, to compare with.
      dependencies: ["CLibmount", "DaemonStoreKernel", "MountAdvice", "TestSupport"],
      swiftSettings: strict),
    .testTarget(
      name: "DaemonStoreTests",
      dependencies: [
        "CDaemonStoreLinux", "DaemonStore", "DaemonStoreKernel", "TestSupport",
      ],
      swiftSettings: strict),
    .testTarget(
      name: "CryptohomeTests",
      dependencies: [
        "Cryptohome", "DaemonStore", "DaemonStoreKernel", "TestSupport",
      ],
      swiftSettings: strict),
    .testTarget(
      name: "SeccompTests",
      dependencies: ["CDaemonStoreLinux", "DaemonStoreKernel", "Seccomp", "TestSupport"],
      swiftSettings: strict),
    .testTarget(
      name: "JailTests",
      dependencies: [
        "DaemonStoreAccounts", "CDaemonStoreLinux", "Jail", "DaemonStoreKernel", "Seccomp",
        "TestSupport",
      ],
      swiftSettings: strict),
    .testTarget(
      name: "ServiceAuditTests", dependencies: ["DaemonStoreKernel", "ServiceAudit"],
      swiftSettings: strict),
    .testTarget(
      name: "DaemonStoreClientTests",
      dependencies: [
        "CDaemonStore", "CDaemonStoreLinux", "DaemonStoreClient", "DaemonStoreKernel",
        "TestSupport",
      ],
      swiftSettings: strict),
    .testTarget(
      name: "CommandLineTests",
      dependencies: ["CDaemonStoreLinux", "DaemonStoreClient", "DaemonStoreKernel", "TestSupport"],
      path: "Tests",
      exclude: ["Boot", "Campaigns", "Package", "Sanitized", "CommandLineTests/Bus/client.py"],
      // The attacks are tests of the same programs, on the same machines.
      sources: ["CommandLineTests", "Attack"], swiftSettings: strict),
  ]
)
