import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel

/// A descriptor that several steps of a plan use, or that waits in a list: closed with the last
/// reference, and on exec.
final class SharedDescriptor {
  let descriptor: Descriptor

  init(_ descriptor: consuming Descriptor) { self.descriptor = descriptor }

  /// Follows symbolic links; nil when there is nothing.
  convenience init?(opening path: FilePath, flags: CInt) throws(SystemError) {
    do throws(SystemError) {
      self.init(try Descriptor(followingLinks: path, flags: flags))
    } catch {
      guard error.code == ENOENT else { throw error }
      return nil
    }
  }
}

/// The files of the namespaces that a jail enters, opened before anything changes.
struct NamespaceFiles {
  let network: SharedDescriptor?
  let mount: SharedDescriptor?

  init(_ configuration: JailConfiguration) throws(JailError) {
    network = try Self.open(configuration.networkNamespaceFile, option: "-e")
    mount = try Self.open(configuration.mountNamespaceFile, option: "-V ")
  }

  private static func open(
    _ file: FilePath?, option: String
  ) throws(JailError) -> SharedDescriptor? {
    guard let file else { return nil }
    return try step("\(option)\(file)") { () throws(SystemError) in
      // A pipe is no namespace, and must not be waited for.
      SharedDescriptor(try Descriptor(followingLinks: file, flags: O_RDONLY | O_NONBLOCK))
    }
  }
}

/// A ruleset that a later step, or the library in the program, puts in force.
final class SharedRuleset {
  let ruleset: FileRuleset
  init(_ ruleset: consuming FileRuleset) { self.ruleset = ruleset }
}

/// What a process and its children share, and a program that they execute does not.
final class SharedOutcome {
  private let words: UnsafeMutablePointer<CInt>
  /// The memory, for a program that maps it.
  let file: SharedDescriptor?

  /// - Parameter isFile: whether a program is to share it.
  init(isFile: Bool) throws(SystemError) {
    file =
      isFile
      ? SharedDescriptor(
        Descriptor(
          owning: try check("memfd_create", "outcome", linux_memory_file("minijail-outcome"))))
      : nil
    guard let words = linux_shared_words(file?.descriptor.number ?? -1) else {
      throw SystemError(operation: "mmap", path: nil, code: errno)
    }
    self.words = words
  }

  deinit { munmap(words, 4 * MemoryLayout<CInt>.size) }

  // Each is read when the process that sets it has ended.

  /// Why execve(2) failed; 0 unless it did.
  var executionError: CInt {
    get { words[0] }
    set { words[0] = newValue }
  }

  /// Where the list of a ``Trampoline`` went on when a call failed; 0 where there is none.
  var failedCall: CInt { words[2] }

  /// The signal that ended the program of an init; 0 unless one did.
  var programSignal: CInt {
    get { words[1] }
    set { words[1] = newValue }
  }
}
