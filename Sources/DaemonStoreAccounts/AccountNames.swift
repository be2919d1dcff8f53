import Glibc
import DaemonStoreKernel

/// The names of users and groups of a system: of the running one through NSS, of an image below a
/// directory from its own files.
package struct AccountNames {
  /// nil for the running system.
  private let files: (users: [[ArraySlice<UInt8>]], groups: [[ArraySlice<UInt8>]])?

  /// - Parameter root: `/`, or the directory of an image, where a missing file names nobody.
  package init(root: FilePath) throws(SystemError) {
    guard root != "/" else {
      files = nil
      return
    }
    let directory = try Directory(opening: root)
    files = (
      try Self.lines("etc/passwd", in: directory), try Self.lines("etc/group", in: directory)
    )
  }

  package func user(named name: FilePath) throws(SystemError) -> uid_t? {
    guard let files else { return try Account.named(name)?.user }
    return files.users.first { $0[0].elementsEqual(name.bytes) }.flatMap { $0[2].number() }
  }

  package func group(named name: FilePath) throws(SystemError) -> gid_t? {
    guard let files else { return try Group.named(name) }
    return files.groups.first { $0[0].elementsEqual(name.bytes) }.flatMap { $0[2].number() }
  }

  /// nil where nobody has that number.
  package func name(ofUser user: uid_t) throws(SystemError) -> FilePath? {
    guard let files else { return try Account.named(user) }
    return files.users.first { $0[2].number() == user }.map { FilePath(truncating: $0[0]) }
  }

  package func name(ofGroup group: gid_t) throws(SystemError) -> FilePath? {
    guard let files else { return try Group.named(group) }
    return files.groups.first { $0[2].number() == group }.map { FilePath(truncating: $0[0]) }
  }

  /// The lines of passwd(5) or group(5) that have a number: name, password, number.
  private static func lines(
    _ name: FilePath, in directory: borrowing Directory
  ) throws(SystemError) -> [[ArraySlice<UInt8>]] {
    let file: Descriptor
    do {
      file = try directory.file(name, flags: O_RDONLY | O_NONBLOCK)
    } catch  where error.code == ENOENT {
      return []
    }
    guard let bytes = try file.read(atMost: 1 << 26, shown: directory.path(of: name)) else {
      throw SystemError(operation: "read", path: directory.path(of: name), code: EFBIG)
    }
    return bytes.lines.map {
      $0.split(separator: UInt8(ascii: ":"), omittingEmptySubsequences: false)
    }.filter { $0.count >= 3 }
  }
}

/// Users of the system's own, for daemons.
package enum SystemUsers {
  /// Whether every tool would take it: `[a-z_][a-z0-9_-]*`, at most 31 bytes.
  package static func isName(_ name: FilePath) -> Bool {
    guard let first = name.bytes.first, name.bytes.count <= 31 else { return false }
    let small = UInt8(ascii: "a")...UInt8(ascii: "z")
    let digits = UInt8(ascii: "0")...UInt8(ascii: "9")
    return (small.contains(first) || first == UInt8(ascii: "_"))
      && name.bytes.allSatisfy {
        small.contains($0) || digits.contains($0) || "_-".utf8.contains($0)
      }
  }

  /// Makes what is missing of a group and of a user in it, the way of the distribution: with
  /// systemd-sysusers(8) where there is one, else with groupadd(8) and useradd(8). The user has no
  /// home and no shell. Both names are such as ``isName(_:)`` takes.
  ///
  /// - Throws: ``SystemUsersError`` when the tool does not end well, or there is none.
  package static func make(user: FilePath, group: FilePath, root: FilePath) throws {
    let names = try AccountNames(root: root)
    let needsUser = try names.user(named: user) == nil
    let needsGroup = try names.group(named: group) == nil
    guard needsUser || needsGroup else { return }
    let lines =
      (needsGroup ? "g \(group) -\n" : "") + (needsUser ? "u \(user) -:\(group) \"\(user)\"\n" : "")
    do {
      try run(["systemd-sysusers", "--root=\(root)", "-"], input: lines)
    } catch let error as SystemError where error.code == ENOENT {
      // --prefix works in an image whose programs cannot run here, which --root does not.
      let place: [FilePath] = root == "/" ? [] : ["--prefix", root]
      if needsGroup { try run(["groupadd"] + place + ["--system", group]) }
      if needsUser {
        try run(
          ["useradd"] + place
            + ["--system", "--no-create-home", "--home-dir", "/", "--gid", group]
            + ["--shell", "/usr/sbin/nologin", user])
      }
    }
    let now = try AccountNames(root: root)
    guard try now.user(named: user) != nil, try now.group(named: group) != nil else {
      throw SystemUsersError("\(user):\(group) was made, but the system does not know it yet")
    }
  }

  private static func run(_ words: [FilePath], input: String = "") throws {
    let end = try runProgram(words, input: input)
    guard end == .exited(0) else {
      let how =
        switch end {
        case .exited(let status): "status \(status)"
        case .killed(let signal): "\(signalName(signal))"
        }
      throw SystemUsersError("\(words.map(\.description).joined(separator: " ")) ended with \(how)")
    }
  }
}

/// A user could not be made: one line.
package struct SystemUsersError: Error, CustomStringConvertible {
  package let description: String
  init(_ description: String) { self.description = description }
}
