import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel
import Testing

/// How `/` and all below it propagate: as systemd leaves them, or as the kernel does.
package enum Machine: String, Codable, CaseIterable, Sendable {
  case shared
  case isolated
}

/// A machine of a test's own: a mount namespace with its own `/run`, `/home`, `/var/lib` and
/// `/etc`, all empty but for what is said here, and the built programs in `/mnt/programs`.
package final class Host {
  package static let salt = "0123456789abcdef"

  /// Users with a passwd entry, and their ids.
  package static let accounts = ["alice": 1000, "bob": 1001, "carol": 1002]

  /// SHA-1 of the salt and the name, as Python's hashlib computes it.
  package static let alice = "613ee4f28d2c6498c938ccbfdd85ea414586302a"
  package static let bob = "d09e6ca23c64d738ac3a6de2615bf8b654346632"
  package static let carol = "7c9f2003fb1979c6dd3925b48891d9e218903c5b"
  /// Without a passwd entry.
  package static let guest = "1a824cdd2f389374bc7905a09d54dc15970936a9"

  package let helpers = Helpers()

  fileprivate init() {}
}

/// Runs `body` on a machine of its own. Call it in an exit test; what is thrown is recorded.
package func inHost(_ machine: Machine, _ body: (Host) throws -> Void) {
  do {
    let programs = try builtPrograms()
    let libraries = try? readFileBytes("/etc/ld.so.cache")
    try enterPrivateNamespace()
    try prepare(programs: programs, libraries: libraries)
    if machine == .shared { try mountFilesystem("none", "/", nil, MS_REC | MS_SHARED) }
    let host = Host()
    defer { host.helpers.stopAll() }
    try body(host)
  } catch {
    Issue.record("\(error)")
  }
}

/// The directory with the programs: that of the environment variable `DAEMON_STORE_BUILD`, or the
/// release build of this package, or the debug build.
package func builtPrograms() throws -> String {
  let package = #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
  let places =
    environment("DAEMON_STORE_BUILD").map { [$0] }
    ?? ["/\(package)/.build/release", "/\(package)/.build/debug"]
  guard let place = places.first(where: { exists("\($0)/cryptohome") }) else {
    throw Problem("there is no program in \(places.joined(separator: " or ")); run make build")
  }
  return place
}

private func prepare(programs: String, libraries: [UInt8]?) throws {
  // Cloned before a tmpfs hides the place.
  let tree = try check(
    "open_tree", programs,
    open_tree(AT_FDCWD, programs, UInt32(OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC)))
  for (place, type) in [
    ("/mnt", "mnt"), ("/run", "run"), ("/home", "home"), ("/var", "var"), ("/etc", "etc"),
  ] {
    try mountFilesystem(type, place, "tmpfs", 0, "mode=0755")
  }
  try makeDirectory("/mnt/programs")
  try check(
    "move_mount", "/mnt/programs",
    move_mount(tree, "", AT_FDCWD, "/mnt/programs", UInt32(MOVE_MOUNT_F_EMPTY_PATH)))
  close(tree)
  try check("chdir", "/", chdir("/"))

  if let libraries { try writeFile("/etc/ld.so.cache", libraries) }
  try writeFile("/etc/nsswitch.conf", "passwd: files\ngroup: files\n")
  try writeFile(
    "/etc/passwd",
    "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"
      + Host.accounts.map { "\($0.key):x:\($0.value):\($0.value)::/home/user:/bin/sh\n" }.joined())
  try writeFile("/etc/group", "root:x:0:\nnogroup:x:65534:\n")
  try makeDirectory("/etc/daemon-store")
  try makeDirectory("/var/lib")
  try writeFile("/var/lib/system_salt", Host.salt)
}

extension Host {
  /// Makes the template of a store.
  package func template(
    _ name: String, owner: uid_t = 0, group: gid_t = 0, mode: mode_t = 0o700
  ) throws {
    try makeDirectory("/etc/daemon-store/\(name)", owner: owner, group: group, mode: mode)
  }

  /// Runs one of the built programs.
  package func run(_ program: String, _ arguments: String...) throws -> Outcome {
    try TestSupport.run("/mnt/programs/\(program)", arguments)
  }

  /// Runs one, and expects it to end well with nothing to complain about.
  @discardableResult
  package func succeed(
    _ program: String, _ arguments: String...,
    sourceLocation: SourceLocation = #_sourceLocation
  ) throws -> Outcome {
    let outcome = try TestSupport.run("/mnt/programs/\(program)", arguments)
    #expect(
      outcome.status == 0 && outcome.complaints.isEmpty, "\(outcome)",
      sourceLocation: sourceLocation)
    return outcome
  }

  /// Runs one, and expects this status and one complaint that has all of these words in it.
  @discardableResult
  package func refuse(
    status: CInt = 1, _ words: [String], _ program: String, _ arguments: String...,
    sourceLocation: SourceLocation = #_sourceLocation
  ) throws -> Outcome {
    let outcome = try TestSupport.run("/mnt/programs/\(program)", arguments)
    #expect(
      outcome.status == status
        && outcome.complaints.contains { line in words.allSatisfy { line.contains($0) } },
      "\(outcome)", sourceLocation: sourceLocation)
    return outcome
  }

  /// Runs one as an ordinary user.
  package func runAsNobody(_ program: String, _ arguments: String...) throws -> Outcome {
    try TestSupport.run(
      "setpriv",
      ["--reuid", "65534", "--regid", "65534", "--clear-groups", "/mnt/programs/\(program)"]
        + arguments)
  }

  package func table() throws -> [MountLine] { try mountTable() }

  /// The one mount at a path: none or more than one is a problem.
  package func mount(at path: String) throws -> MountLine {
    let mounts = try table().at(path)
    guard let mount = mounts.first, mounts.count == 1 else {
      throw Problem("\(mounts.count) mounts at \(path): \(mounts)")
    }
    return mount
  }
}

extension Host {
  /// A process in a namespace of its own that receives what is mounted here: it has inherited all,
  /// as `unshare --mount --propagation slave` makes it.
  package func follower() throws -> pid_t {
    try helpers.fork {
      try check("unshare", nil, linux_unshare(CLONE_NEWNS))
      try mountFilesystem("none", "/", nil, MS_REC | MS_SLAVE)
    }
  }

  /// A process in a jail that holds one store by a bind of its own at `/mnt/jail`, and as a slave,
  /// and has nothing else of the stores.
  package func jail(following store: String) throws -> pid_t {
    try helpers.fork {
      try check("unshare", nil, linux_unshare(CLONE_NEWNS))
      try mountFilesystem("none", "/", nil, MS_REC | MS_SLAVE)
      try mountFilesystem("jail", "/mnt", "tmpfs")
      try makeDirectory("/mnt/jail")
      try bindMount("/run/daemon-store/\(store)", "/mnt/jail", recursively: true)
      try mountFilesystem("none", "/", nil, MS_REC | MS_SLAVE)
      for place in ["/run", "/home"] { try unmountFilesystem(place, lazily: true) }
    }
  }

  /// A process that holds something in the way that `body` says.
  package func holder(_ body: () throws -> Void) throws -> pid_t { try helpers.fork(body) }
}

private func readFileBytes(_ path: String) throws -> [UInt8] {
  let file = try Descriptor(opening: path, flags: O_RDONLY)
  return try file.read(atMost: .max, shown: FilePath(path)) ?? []
}
