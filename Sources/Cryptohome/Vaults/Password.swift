import CDaemonStoreLinux
import DaemonStore
import Glibc
import DaemonStoreKernel

/// Nothing is where a password should be.
package struct NoPassword: Error, CustomStringConvertible {
  package var description: String { "password: is empty; nothing was given" }
}

extension Secret {
  /// The most bytes that a password has.
  package static let longestPassword = 4096

  /// The password in the next line of a descriptor: what comes before a newline, or before the end.
  ///
  /// - Parameter limit: when it must have come. A descriptor that another user has sent may be one
  ///   that cannot be read from without waiting, whatever poll(2) says: a moment later SIGALRM ends
  ///   this process then.
  /// - Throws: ``NoPassword``; ``Refusal`` for one that is too long, or has a zero byte in it.
  package init(passwordFrom descriptor: CInt, within limit: Duration? = nil) throws {
    let deadline = limit.map { ContinuousClock.now + $0 }
    if let limit { alarm(CUnsignedInt(clamping: limit.components.seconds + 2)) }
    defer { if limit != nil { alarm(0) } }
    let line = UnsafeMutableRawBufferPointer.allocate(
      byteCount: Self.longestPassword + 1, alignment: 1)
    defer {
      if let base = line.baseAddress { linux_wipe(base, line.count) }
      line.deallocate()
    }
    var count = 0
    // One byte at a time: the next line may be for somebody else.
    while count < line.count {
      if let deadline, try !isReadable(descriptor, until: deadline) {
        throw Refusal(
          path: "password", reason: "has not come in time; write it before the call, or close it")
      }
      let got = try check(
        "read", "password", read(descriptor, line.baseAddress.map { $0 + count }, 1))
      guard got > 0, line[count] != UInt8(ascii: "\n") else { break }
      count += 1
    }
    guard count > 0 else { throw NoPassword() }
    guard count <= Self.longestPassword else {
      throw Refusal(
        path: "password", reason: "is longer than \(Self.longestPassword) bytes; choose another")
    }
    let password = UnsafeRawBufferPointer(rebasing: line[..<count])
    guard !password.contains(0) else {
      throw Refusal(path: "password", reason: "has a zero byte in it; choose another")
    }
    self.init(copying: password)
  }

  /// All that is in a key file, at most a byte more than a key has.
  package init(keyFile path: FilePath) throws {
    let file = Descriptor(
      owning: try check(
        "open", path, open(path.cString, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)))
    let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: 65, alignment: 1)
    defer {
      if let base = bytes.baseAddress { linux_wipe(base, bytes.count) }
      bytes.deallocate()
    }
    var count = 0
    while count < bytes.count {
      let got = try check(
        "read", path,
        read(file.number, bytes.baseAddress.map { $0 + count }, bytes.count - count))
      guard got > 0 else { break }
      count += got
    }
    self.init(copying: UnsafeRawBufferPointer(rebasing: bytes[..<count]))
  }

  /// Whether both are the same bytes.
  package func equals(_ other: borrowing Secret) -> Bool {
    withBytes { own in other.withBytes { own.elementsEqual($0) } }
  }
}
