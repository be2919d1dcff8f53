import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel
import DaemonStoreProgram
import Seccomp

/// Files as the commands take them: `-` is standard input, or output.
enum Files {
  /// - Throws: ``SystemError``, also for a directory and for more than `limit` bytes.
  static func read(
    _ path: FilePath, limit: Int = PolicyLimits.fileBytes
  ) throws(SystemError) -> [UInt8] {
    let number =
      path == "-" ? dup(STDIN_FILENO) : open(path.cString, O_RDONLY | O_CLOEXEC | O_NOCTTY)
    let file = Descriptor(owning: try check("open", path, number))
    guard let bytes = try file.read(atMost: limit, shown: path) else {
      throw SystemError(operation: "read", path: path, code: EFBIG)
    }
    return bytes
  }

  /// The whole of a file or nothing: it is written beside its place, and then takes it. A device or
  /// a pipe stays what it is, and is written to.
  static func write(_ bytes: [UInt8], to path: FilePath) throws(SystemError) {
    guard path != "-" else {
      return try Descriptor(owning: try check("dup", nil, dup(STDOUT_FILENO)))
        .write(bytes, shown: "standard output")
    }
    try FileReplacement(of: path).commit(bytes)
  }

  /// Whether both paths lead to one regular file.
  static func areSame(_ path: FilePath, _ other: FilePath) -> Bool {
    var (file, second) = (stat(), stat())
    guard stat(path.cString, &file) == 0, file.st_mode & S_IFMT == S_IFREG,
      stat(other.cString, &second) == 0
    else { return false }
    return file.st_dev == second.st_dev && file.st_ino == second.st_ino
  }

  static func parser(
    _ architecture: Architecture, _ dialect: Dialect, _ files: PolicyFiles = PolicyFiles()
  ) -> PolicyParser {
    PolicyParser(architecture: architecture, dialect: dialect) { path throws(ReadFailure) in
      do throws(SystemError) {
        return try files.read("\(path)")
      } catch {
        let isMissing = error.code == ENOENT || error.code == ENOTDIR
        throw ReadFailure(isMissing: isMissing, reason: error.reason)
      }
    }
  }

  /// Reads a policy; says on standard error what is wrong with it, and where.
  static func policy(
    _ path: String, _ architecture: Architecture, _ dialect: Dialect,
    _ files: PolicyFiles = PolicyFiles()
  ) throws -> Policy {
    do throws(PolicyError) {
      let policy = try parser(architecture, dialect, files).parse(file: path)
      complain(policy.warnings.flatMap { ["warning:"] + $0.lines })
      return policy
    } catch {
      complain(error.warnings.flatMap { ["warning:"] + $0.lines })
      complain(error.diagnostics.flatMap(\.lines))
      let count = error.diagnostics.count
      throw Failure("\(path): \(count) \(count == 1 ? "mistake" : "mistakes")")
    }
  }

  private static func complain(_ lines: [String]) {
    for line in lines { Program.complain(line) }
  }
}

/// The files of a policy, each read once: what comes through a pipe is not there a second time.
final class PolicyFiles {
  private var texts: [FilePath: [UInt8]] = [:]

  func read(_ path: FilePath) throws(SystemError) -> [UInt8] {
    if let text = texts[path] { return text }
    let text = try Files.read(path)
    texts[path] = text
    return text
  }
}
