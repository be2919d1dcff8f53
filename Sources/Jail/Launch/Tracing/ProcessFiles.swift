import Glibc
import Kernel

/// What `/proc` says of processes and threads.
enum ProcessFiles {
  /// The threads of a process.
  static func threads(of process: pid_t) throws(SystemError) -> Set<pid_t> {
    try numbers(in: "/proc/\(process)/task")
  }

  /// The children that a thread has, those that have ended too: proc_tid_children(5). Empty for a
  /// thread that is gone.
  static func children(of process: pid_t, thread: pid_t) throws(SystemError) -> Set<pid_t> {
    do throws(SystemError) {
      let text = try kernelFile("/proc/\(process)/task/\(thread)/children")
      return Set(text.split(separator: UInt8(ascii: " ")).compactMap(number))
    } catch {
      guard error.code == ENOENT || error.code == ESRCH else { throw error }
      // CONFIG_PROC_CHILDREN is off, or the thread is gone.
      guard access("/proc/self/task/\(getpid())/children", F_OK) != 0 else { return [] }
    }
    guard process == thread else { return [] }
    return try numbers(in: "/proc").filter { parent(of: $0) == process }
  }

  private static func parent(of process: pid_t) -> pid_t? {
    guard let text = try? kernelFile("/proc/\(process)/stat"),
      let end = text.lastIndex(of: UInt8(ascii: ")"))
    else { return nil }
    let fields = text[(end + 1)...].split(separator: UInt8(ascii: " "))
    return fields.count > 1 ? number(fields[1]) : nil
  }

  /// The value of a line `Name:\tvalue`.
  static func status(_ path: FilePath, _ name: String) throws(SystemError) -> [UInt8] {
    try value(name, in: try kernelFile(path), path)
  }

  static func value(
    _ name: String, in text: [UInt8], _ path: FilePath
  ) throws(SystemError) -> [UInt8] {
    let key = Array("\(name):\t".utf8)
    for line in text.split(separator: UInt8(ascii: "\n")) where line.starts(with: key) {
      return Array(line.dropFirst(key.count))
    }
    throw SystemError(operation: "read", path: "\(name) in \(path)", code: ENODATA)
  }

  private static func numbers(in path: FilePath) throws(SystemError) -> Set<pid_t> {
    guard let directory = opendir(path.cString) else {
      throw SystemError(operation: "open", path: path, code: errno)
    }
    defer { closedir(directory) }
    var result: Set<pid_t> = []
    while true {
      errno = 0
      guard let entry = readdir(directory) else {
        if errno != 0 { throw SystemError(operation: "read", path: path, code: errno) }
        return result
      }
      let name = withUnsafeBytes(of: &entry.pointee.d_name) { $0.prefix { $0 != 0 }.map { $0 } }
      if let value = number(name[...]) { result.insert(value) }
    }
  }

  private static func number(_ digits: ArraySlice<UInt8>) -> pid_t? {
    var value: pid_t = 0
    for digit in digits {
      guard (48...57).contains(digit) else { return nil }
      let (more, overflows) = value.multipliedReportingOverflow(by: 10)
      guard !overflows else { return nil }
      value = more + pid_t(digit - 48)
    }
    return digits.isEmpty ? nil : value
  }
}

/// The system call filters of a thread: proc_pid_status(5).
struct SeccompState: Equatable {
  let mode: [UInt8]
  /// Linux 5.9.
  let count: [UInt8]

  init(of process: pid_t, thread: pid_t) throws(JailError) {
    let path: FilePath = "/proc/\(process)/task/\(thread)/status"
    (mode, count) = try step("look at the filters of system calls", status: ExitStatus.noJail) {
      () throws(SystemError) in
      let text = try kernelFile(path)
      return (
        try ProcessFiles.value("Seccomp", in: text, path),
        try ProcessFiles.value("Seccomp_filters", in: text, path)
      )
    }
  }
}
