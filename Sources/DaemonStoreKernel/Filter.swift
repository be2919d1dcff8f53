import CDaemonStoreLinux
import Glibc

/// seccomp(2): filters of system calls, for the calling thread and what it becomes.
package enum SystemCallFilters {
  /// SECCOMP_FILTER_FLAG_…
  package struct Flags: OptionSet, Hashable, Sendable {
    package let rawValue: UInt32
    package init(rawValue: UInt32) { self.rawValue = rawValue }
    /// All threads of the process, or none.
    package static let synchronizesThreads = Self(rawValue: 1 << 0)
    /// Speculation stays as it is (Linux 4.17).
    package static let allowsSpeculation = Self(rawValue: 1 << 2)
    /// The call returns a descriptor of what `user-notify` tells (Linux 5.0).
    package static let listens = Self(rawValue: 1 << 3)
    /// A call that the listener has received waits for its answer through signals that do not kill
    /// (Linux 5.19): without it, calls that no signal interrupts would fail with EINTR.
    package static let waitsThroughSignals = Self(rawValue: 1 << 5)
  }

  /// Adds a program of 8-byte instructions, for good. Needs no_new_privs or CAP_SYS_ADMIN.
  ///
  /// - Returns: the listener's number with ``Flags/listens``, else 0.
  @discardableResult
  package static func load(_ program: [UInt8], flags: Flags = []) throws(SystemError) -> CInt {
    var instructions = program
    let result = instructions.withUnsafeMutableBytes { bytes -> Result<CInt, SystemError> in
      let list = bytes.assumingMemoryBound(to: sock_filter.self)
      var program = sock_fprog(len: UInt16(clamping: list.count), filter: list.baseAddress)
      let result = linux_seccomp(UInt32(SECCOMP_SET_MODE_FILTER), flags.rawValue, &program)
      if result >= 0, flags.contains(.listens) || result == 0 { return .success(result) }
      // A number that is no listener's is that of a thread which could not follow.
      return .failure(
        SystemError(operation: "seccomp", path: nil, code: result > 0 ? ESRCH : errno))
    }
    return try result.get()
  }
}

extension Descriptor {
  /// A file in memory whose contents are these for good: memfd_create(2) with all seals.
  package init(sealing bytes: [UInt8], name: FilePath) throws(SystemError) {
    let result = bytes.withUnsafeBytes { bytes -> Result<CInt, SystemError> in
      guard let start = bytes.baseAddress else {
        return .failure(SystemError(operation: "memfd_create", path: name, code: EINVAL))
      }
      let result = linux_sealed_file(name.cString, start, bytes.count)
      return result >= 0
        ? .success(result)
        : .failure(SystemError(operation: "memfd_create", path: name, code: errno))
    }
    self.init(owning: try result.get())
  }
}

extension Descriptor {
  /// A file in memory that can be executed, whose contents are these for good.
  package init(
    program bytes: [UInt8], name: FilePath, permissions: mode_t
  ) throws(SystemError) {
    let result = bytes.withUnsafeBytes { bytes -> Result<CInt, SystemError> in
      let failed = { SystemError(operation: "memfd_create", path: name, code: $0) }
      guard let start = bytes.baseAddress else { return .failure(failed(EINVAL)) }
      let result = linux_sealed_program(name.cString, start, bytes.count, permissions)
      return result >= 0 ? .success(result) : .failure(failed(errno))
    }
    self.init(owning: try result.get())
  }
}

extension SystemCallFilters {
  /// Whether this kernel knows these flags: without a program it looks at them first.
  package static func knows(_ flags: Flags) -> Bool {
    linux_seccomp(UInt32(SECCOMP_SET_MODE_FILTER), flags.rawValue, nil) != 0 && errno == EFAULT
  }
}

/// What a filter that listens tells of, call by call: seccomp_unotify(2).
package struct CallListener: ~Copyable {
  package let descriptor: Descriptor

  package struct Call: Equatable, Sendable {
    package let id: UInt64
    /// AUDIT_ARCH_…
    package let architecture: UInt32
    package let number: UInt32
    package let arguments: [UInt64]
  }

  /// Takes the listener that `process` has open at `number`; nil when there is none (yet).
  package init?(of process: borrowing Descriptor, at number: CInt) throws(SystemError) {
    let copy = linux_pidfd_getfd(process.number, number)
    guard copy >= 0 else {
      guard errno == EBADF else {
        throw SystemError(operation: "pidfd_getfd", path: nil, code: errno)
      }
      return nil
    }
    let descriptor = Descriptor(owning: copy)
    guard linux_is_listener(copy) != 0 else { return nil }
    self.descriptor = descriptor
  }

  /// The next call, which waits until it is let go; nil when it was given up meanwhile.
  package func next() throws(SystemError) -> Call? {
    var raw = linux_notification()
    do throws(SystemError) {
      try check(
        "ioctl", "SECCOMP_IOCTL_NOTIF_RECV", linux_receive_notification(descriptor.number, &raw))
    } catch {
      guard error.code == ENOENT else { throw error }
      return nil
    }
    let arguments = raw.arguments
    return Call(
      id: raw.id, architecture: raw.architecture, number: UInt32(bitPattern: raw.number),
      arguments: [
        arguments.0, arguments.1, arguments.2, arguments.3, arguments.4, arguments.5,
      ])
  }

  /// Lets the call be carried out as it is. One that was given up meanwhile is no error.
  package func letGo(_ call: Call) { _ = linux_continue_call(descriptor.number, call.id) }
}

/// Packets between two processes, of which the receiver learns who sends.
package enum ReportSockets {
  /// The receiving and the sending end.
  package static func pair() throws(SystemError) -> (receiving: CInt, sending: CInt) {
    var ends: [CInt] = [-1, -1]
    try check("socketpair", nil, linux_report_sockets(&ends))
    return (ends[0], ends[1])
  }

  /// The next packet, and its sender's number in this process's pid namespace; empty when the other
  /// end is gone.
  package static func receive(
    _ receiving: borrowing Descriptor
  ) throws(SystemError) -> (bytes: [UInt8], sender: pid_t) {
    var buffer = [UInt8](repeating: 0, count: 512)
    var sender: pid_t = 0
    let count = try check(
      "recvmsg", nil, linux_receive_report(receiving.number, &buffer, buffer.count, &sender))
    return (Array(buffer[..<count]), sender)
  }

  /// The same, with the descriptor that came along.
  package static func receiveDescriptor(
    _ receiving: borrowing Descriptor
  ) throws(SystemError) -> (bytes: [UInt8], sender: pid_t, descriptor: CInt?) {
    var buffer = [UInt8](repeating: 0, count: 512)
    var sender: pid_t = 0
    var number: CInt = -1
    let count: Int
    do throws(SystemError) {
      count = try check(
        "recvmsg", nil,
        linux_receive_descriptor(receiving.number, &buffer, buffer.count, &sender, &number))
    } catch {
      // The other end was closed before it had read everything.
      guard error.code == ECONNRESET else { throw error }
      return ([], 0, nil)
    }
    return (Array(buffer[..<count]), sender, number >= 0 ? number : nil)
  }

  /// Sends a packet, with a copy of a descriptor unless that is nil.
  package static func send(
    _ bytes: [UInt8], with descriptor: CInt?, to socket: CInt
  ) throws(SystemError) {
    try check(
      "sendmsg", nil, linux_send_descriptor(socket, bytes, bytes.count, descriptor ?? -1))
  }
}

/// pidfd_getfd(2): a copy of a descriptor of another process.
package func copyDescriptor(
  _ number: CInt, of process: borrowing Descriptor
) throws(SystemError) -> Descriptor {
  Descriptor(
    owning: try check("pidfd_getfd", nil, linux_pidfd_getfd(process.number, number)))
}
