import CDaemonStoreLinux
import Glibc

/// What execve(2) takes, allocated beforehand: behind a filter nothing can be.
final class PreparedProgram {
  private let path: UnsafeMutablePointer<CChar>
  private var words: [UnsafeMutablePointer<CChar>?]
  private var environment: [UnsafeMutablePointer<CChar>?]

  init(path: RawArgument, words: [RawArgument], environment: [RawArgument]) {
    self.path = Self.copy(path)
    self.words = words.map(Self.copy) + [nil]
    self.environment = environment.map(Self.copy) + [nil]
  }

  deinit {
    path.deallocate()
    for pointer in words + environment { pointer?.deallocate() }
  }

  /// Replaces this process by the program, or by the trampoline that is open there; returns only when
  /// that failed, with errno.
  func execute(trampoline: CInt? = nil) {
    guard let trampoline else {
      execve(path, &words, &environment)
      return
    }
    _ = linux_execute_file(trampoline, &words, &environment)
  }

  private static func copy(_ word: RawArgument) -> UnsafeMutablePointer<CChar> {
    let text = word.cString
    let copy = UnsafeMutablePointer<CChar>.allocate(capacity: text.count)
    copy.initialize(from: text, count: text.count)
    return copy
  }
}

/// The path from the root directory, for a process that is about to change its working directory.
func absolutePath(_ path: [UInt8]) throws(JailError) -> [UInt8] {
  let slash = UInt8(ascii: "/")
  if path.first == slash { return path }
  var buffer = [CChar](repeating: 0, count: Int(PATH_MAX))
  guard getcwd(&buffer, buffer.count) != nil, buffer[0] == CChar(slash) else {
    throw JailError(
      "\(RawArgument(bytes: path)): the working directory has no path in the jail; give the full "
        + "path")
  }
  return buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) } + [slash] + path
}

/// The environment of this process.
func currentEnvironment() -> [RawArgument] {
  var result: [RawArgument] = []
  var entry = linux_environ()
  while let text = entry.pointee {
    result.append(
      RawArgument(bytes: Array(UnsafeRawBufferPointer(start: text, count: strlen(text)))))
    entry += 1
  }
  return result
}
