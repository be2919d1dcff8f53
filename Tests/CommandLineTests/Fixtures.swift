import CDaemonStoreLinux
import FoundationEssentials
import Glibc
import DaemonStoreKernel
import TestSupport
import Testing

let trees = ["daemon-store", "daemon-store-cache"]
let dataFlags: Set<String> = ["nosuid", "nodev", "noexec", "nosymfollow"]

extension Host {
  /// Makes a template for each store, and sets the stores up.
  func boot(_ stores: String...) throws {
    for store in stores { try template(store, owner: 5, group: 60, mode: 0o2770) }
    try succeed("daemon-store", "startup")
  }

  /// Gives alice a home directory in passwd(5) and there; bob's is where homes are mounted.
  func makePasswdHome() throws {
    try writeFile(
      "/etc/passwd",
      "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\n"
        + "bob:x:1001:1001::/home/user:/bin/sh\n")
    try makeDirectory("/home/alice", owner: 1000, group: 1000, mode: 0o750)
  }

  /// A process with a private copy of a directory, at `/mnt/keep` of its own namespace.
  func keeper(of folder: String, _ more: () throws -> Void = {}) throws -> pid_t {
    try holder {
      try check("unshare", nil, linux_unshare(CLONE_NEWNS))
      try mountFilesystem("none", "/", nil, MS_REC | MS_PRIVATE)
      try makeDirectory("/mnt/keep")
      try bindMount(folder, "/mnt/keep")
      try more()
    }
  }

  /// Mounts users with a plain vault, made if need be.
  func login(_ users: String..., sourceLocation: SourceLocation = #_sourceLocation) throws {
    for user in users {
      try succeed("cryptohome", "mount", user, "--vault", "plain", sourceLocation: sourceLocation)
    }
  }

  func logout(_ user: String, sourceLocation: SourceLocation = #_sourceLocation) throws {
    try succeed("cryptohome", "unmount", user, sourceLocation: sourceLocation)
  }

  /// Runs a script, with the programs in its path.
  func script(_ text: String) throws -> Outcome {
    try TestSupport.run(
      "sh", ["-c", text],
      environment: ["PATH=/mnt/programs:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8"])
  }

  /// Expects that a user is fully mounted in these stores: one mount for each store and tree, two
  /// homes, and nothing else but what `more` counts.
  func expectMounted(
    _ hash: String, in stores: [String], more: Int = 0,
    sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    let mounts = try table().naming(hash)
    #expect(
      mounts.count == 2 * stores.count + 2 + more, "\(mounts)", sourceLocation: sourceLocation)
    let places = folders(of: hash, in: stores) + ["/home/user/\(hash)", "/home/root/\(hash)"]
    for place in places {
      #expect(mounts.at(place).count == 1, "\(place): \(mounts)", sourceLocation: sourceLocation)
    }
  }

  /// Expects that nothing of a user's is mounted, and that no mount point is left.
  func expectGone(
    _ hash: String, from stores: [String], butForVault: Bool = false,
    sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    let vault = "/home/.shadow/\(hash)"
    let mounts = try table().naming(hash).filter { !butForVault || $0.target != vault }
    if butForVault {
      #expect(try table().at(vault).count == 1, sourceLocation: sourceLocation)
    }
    #expect(mounts.isEmpty, "\(mounts)", sourceLocation: sourceLocation)
    for place in folders(of: hash, in: stores) + ["/home/user/\(hash)", "/home/root/\(hash)"] {
      #expect(!exists(place), "\(place)", sourceLocation: sourceLocation)
    }
  }

  func folders(of hash: String, in stores: [String]) -> [String] {
    trees.flatMap { tree in stores.map { "/run/\(tree)/\($0)/\(hash)" } }
  }
}

/// Decodes what a program printed as JSON.
func decode<Value: Decodable>(_ type: Value.Type, _ text: String) throws -> Value {
  try JSONDecoder().decode(type, from: Data(text.utf8))
}
