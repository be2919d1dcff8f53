import CLinux
import Glibc
import Kernel

/// Where a mount goes: a path as the program will see it, looked up with the jail's root as the
/// root directory. No component leads out of it, whatever links there are on the way.
struct Destination: ~Copyable {
  let descriptor: Descriptor
  /// For messages: the path from outside.
  let shown: String

  /// Opens what exists.
  init(
    _ target: String, in root: borrowing Descriptor, rootPath: String
  ) throws(SystemError) {
    shown = Self.shown(target, rootPath)
    descriptor = try Descriptor(opening: target, inRoot: root, shown: shown)
  }

  consuming func intoDescriptor() -> Descriptor { descriptor }

  /// What a mount point that is missing is made as.
  struct Missing {
    let isDirectory: Bool
    let owner: uid_t
    let group: gid_t
  }

  /// Opens it, and makes it first when it is missing: directories above it 0755, itself a
  /// directory 0755 or an empty file 0700 of the given owner.
  init(
    _ target: String, in root: borrowing Descriptor, rootPath: String, making missing: Missing
  ) throws(SystemError) {
    shown = Self.shown(target, rootPath)
    var words = target.split(separator: "/").map(String.init)
    // Each link to nothing is replaced by what it says, as the kernel would, and the look-up
    // starts again.
    for _ in 0..<40 {
      switch try Self.make(words, in: root, shown: shown, missing) {
      case .found(let held):
        descriptor = held
        return
      case .link(let index, let text):
        let before = text.hasPrefix("/") ? [] : Array(words[..<index])
        words = before + text.split(separator: "/").map(String.init) + words[(index + 1)...]
      }
    }
    throw SystemError(operation: "open", path: shown, code: ELOOP)
  }

  private enum Made: ~Copyable {
    case found(Descriptor)
    case link(at: Int, saying: String)
  }

  private static func make(
    _ words: [String], in root: borrowing Descriptor, shown: String, _ missing: Missing
  ) throws(SystemError) -> Made {
    // Each turn makes one component, or finds that somebody else just did.
    for _ in 0...(words.count + 8) {
      if let found = try existing(words[...], in: root, shown: shown) { return .found(found) }
      // The nearest directory above that exists; the root does.
      var count = words.count - 1
      while count > 0, try existing(words[..<count], in: root, shown: shown) == nil { count -= 1 }
      guard count >= 0, let parent = try existing(words[..<count], in: root, shown: shown) else {
        continue
      }
      let isLast = count == words.count - 1
      let name = words[count]
      if try !create(name, in: parent, isDirectory: !isLast || missing.isDirectory, shown: shown) {
        if let text = linkText(name, in: parent) { return .link(at: count, saying: text) }
      } else if isLast {
        try check(
          "chown", shown,
          fchownat(parent.number, name, missing.owner, missing.group, AT_SYMLINK_NOFOLLOW))
      }
    }
    throw SystemError(operation: "open", path: shown, code: ENOENT)
  }

  /// False when there is something of that name already: a link is never followed.
  private static func create(
    _ name: String, in parent: borrowing Descriptor, isDirectory: Bool, shown: String
  ) throws(SystemError) -> Bool {
    do {
      if isDirectory {
        try check("mkdir", shown, mkdirat(parent.number, name, 0o755))
      } else {
        _ = Descriptor(
          owning: try check(
            "create", shown,
            openat(parent.number, name, O_CREAT | O_EXCL | O_RDONLY | O_CLOEXEC, 0o700)))
      }
      return true
    } catch  where error.code == EEXIST {
      return false
    }
  }

  /// nil when some component of it is missing.
  private static func existing(
    _ words: ArraySlice<String>, in root: borrowing Descriptor, shown: String
  ) throws(SystemError) -> Descriptor? {
    do {
      return try Descriptor(
        opening: words.isEmpty ? "." : words.joined(separator: "/"), inRoot: root, shown: shown)
    } catch  where error.code == ENOENT {
      return nil
    }
  }

  /// nil when it is no symbolic link.
  private static func linkText(_ name: String, in directory: borrowing Descriptor) -> String? {
    var buffer = [CChar](repeating: 0, count: Int(PATH_MAX))
    let count = readlinkat(directory.number, name, &buffer, buffer.count)
    guard count > 0 else { return nil }
    return String(decoding: buffer[..<count].lazy.map(UInt8.init(bitPattern:)), as: UTF8.self)
  }

  private static func shown(_ target: String, _ rootPath: String) -> String {
    rootPath == "/" ? target : rootPath + target
  }
}
