import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel

/// What is done in the program at its entry point, by system calls that the launcher makes it make:
/// its whole memory and all its descriptors may be an attacker's by then, and another process of its
/// user may write to its memory at any time (decision 0060). Every call is checked when it begins and
/// when it ends: what the program could make a thread do on the way to the call (rseq(2), a handler)
/// changes nothing, or is noticed. Results come from the kernel, and never from the program's memory.
extension StartingJail {
  /// - Returns: false when there is another program by now, or none.
  func complete(_ main: TracedThread) throws(JailError) -> Bool {
    guard try halt(main.number) else { return false }
    // On aarch64 it would stop the program again at the first call, which is made at the same place.
    try tracing { () throws(SystemError) in try main.setBreakpoint(nil) }
    completedImage = images
    try checkFilters(main.number)
    // What is to be delivered waits until the end.
    var calls = try ProgramCalls(main, self)
    let others = threads.keys.filter { $0 != main.number }.map { TracedThread($0) }
    if ruleset != nil, !others.isEmpty { try checkTables(main, others) }
    let isHidden = ruleset == nil ? false : try hide(&calls)
    let number = try takeRuleset(&calls)
    for thread in [main] + others {
      try calls.enter(thread)
      if configuration.clearsAmbientLater {
        try calls.expectSuccess(
          "clear the ambient capabilities", linux_call_prctl,
          [UInt64(PR_CAP_AMBIENT), UInt64(PR_CAP_AMBIENT_CLEAR_ALL)])
      }
      if let number {
        try calls.expectSuccess(
          "landlock_restrict_self", linux_call_landlock_restrict_self, [number, 0])
      }
      if thread != main { try calls.leave() }
    }
    try calls.enter(main)
    if let number { try calls.expectSuccess("close", linux_call_close, [number]) }
    if isHidden { try setDumpable(1, &calls) }
    if let filter = configuration.filter { try load(filter, &calls) }
    try calls.leave()
    try calls.finish()
    try tracing { () throws(SystemError) in try self.detachAll() }
    learning?.programStarts()
    return true
  }

  /// A filter of the program's own could answer a call that is never made with success.
  private func checkFilters(_ main: pid_t) throws(JailError) {
    for thread in threads.keys {
      guard try SeccompState(of: main, thread: thread) == filters else {
        throw JailError(
          "the program loaded a filter of system calls before its entry point",
          status: ExitStatus.noJail)
      }
    }
  }

  /// A thread with descriptors of its own could have another ruleset at the number.
  private func checkTables(_ main: TracedThread, _ others: [TracedThread]) throws(JailError) {
    for thread in others {
      let result = try tracing { () throws(SystemError) in
        try check("kcmp", nil, linux_compare_files(main.number, thread.number))
      }
      guard result == 0 else {
        throw JailError(
          "a thread of the program has descriptors of its own before the entry point",
          status: ExitStatus.noJail)
      }
    }
  }

  /// Keeps other processes of the program's user away from its descriptors: one of them could take
  /// the sockets or the ruleset with pidfd_getfd(2), and add rules. That a process is not dumpable
  /// keeps away a launcher too that lacks CAP_SYS_PTRACE.
  ///
  /// - Returns: whether that was done, and has to be undone.
  private func hide(_ calls: inout ProgramCalls) throws(JailError) -> Bool {
    let own = try tracing { () throws(SystemError) in try CapabilitySet.effective() }
    guard own.contains(.sysPtrace) else { return false }
    let isDumpable = try calls.make(linux_call_prctl, [UInt64(PR_GET_DUMPABLE)])
    guard isDumpable >= 0 else { throw ProgramCalls.failure("PR_GET_DUMPABLE", isDumpable) }
    // Anything else keeps others away already.
    guard isDumpable == 1 else { return false }
    try setDumpable(0, &calls)
    return true
  }

  private func setDumpable(_ value: UInt64, _ calls: inout ProgramCalls) throws(JailError) {
    try calls.expectSuccess(
      "PR_SET_DUMPABLE", linux_call_prctl, [UInt64(PR_SET_DUMPABLE), value])
  }

  private func load(_ filter: SystemCallFilter, _ calls: inout ProgramCalls) throws(JailError) {
    typealias Place = ProgramCalls.Place
    let bytes = filter.completion.bytes
    let flags = filter.flags.union(.synchronizesThreads)
    try calls.fix([
      (Place.instructions, words(bytes)),
      (Place.filter, [UInt64(bytes.count / 8), calls.address(Place.instructions)]),
    ])
    try calls.expectSuccess(
      "load the filter of \(filter.name)", linux_call_seccomp,
      [UInt64(SECCOMP_SET_MODE_FILTER), UInt64(flags.rawValue), calls.address(Place.filter)])
  }

  /// Gives the rules for files to the program, which has never had them: a program could add rules.
  ///
  /// - Returns: the number that they have in the program.
  private func takeRuleset(_ calls: inout ProgramCalls) throws(JailError) -> UInt64? {
    guard let ruleset = ruleset.take() else { return nil }
    let main = calls.main.number
    var open = try descriptors(of: main)
    let arguments = [UInt64(AF_UNIX), UInt64(SOCK_SEQPACKET.rawValue), 0, calls.address(0)]
    try calls.expectSuccess("socketpair", linux_call_socketpair, arguments)
    let ends = try opened(2, in: main, since: &open)
    do throws(SystemError) {
      let process = try Descriptor(process: main)
      let end = try copyDescriptor(ends[0], of: process)
      try ReportSockets.send([UInt8(ascii: "r")], with: ruleset.number, to: end.number)
    } catch { throw Self.refused(error) }
    typealias Place = ProgramCalls.Place
    // struct iovec, struct msghdr and room for one descriptor. Another process may change them: then
    // nothing arrives, or the kernel writes elsewhere in the program's memory, as that process could.
    let message = [0, 0, calls.address(Place.vector), 1, calls.address(Place.control), 24, 0]
    let flags = UInt64(MSG_CMSG_CLOEXEC) | UInt64(MSG_DONTWAIT)
    try calls.write([(Place.vector, [calls.address(Place.byte), 1]), (Place.message, message)])
    let count = try calls.make(
      linux_call_recvmsg, [UInt64(ends[1]), calls.address(Place.message), flags])
    guard count >= 0 else { throw ProgramCalls.failure("recvmsg", count) }
    let number = try opened(1, in: main, since: &open)[0]
    let result = try tracing { () throws(SystemError) in
      try check("kcmp", nil, linux_compare_file(getpid(), ruleset.number, main, number))
    }
    guard result == 0 else { throw Self.notArrived }
    for end in ends { try calls.expectSuccess("close", linux_call_close, [UInt64(end)]) }
    return UInt64(number)
  }

  private static func refused(_ error: SystemError) -> JailError {
    let hint =
      error.code == EPERM || error.code == EACCES
      ? "; the rules of a program of another user need CAP_SYS_PTRACE, or --jail-by=preload" : ""
    return JailError("rules for files: \(error)\(hint)", status: ExitStatus.noJail)
  }

  private static var notArrived: JailError {
    JailError("the rules for files did not arrive", status: ExitStatus.noJail)
  }

  /// The numbers of its open descriptors, as the kernel says.
  private func descriptors(of process: pid_t) throws(JailError) -> Set<CInt> {
    do throws(SystemError) {
      let names = try Directory(opening: "/proc/\(process)/fd").names()
      return Set(names.compactMap { $0.bytes.number() })
    } catch { throw Self.refused(error) }
  }

  /// What a call has opened. All threads of the program have stopped but the one that has made it.
  private func opened(
    _ count: Int, in process: pid_t, since before: inout Set<CInt>
  ) throws(JailError) -> [CInt] {
    let now = try descriptors(of: process)
    let new = now.subtracting(before).sorted()
    guard new.count == count, before.isSubset(of: now) else { throw Self.notArrived }
    before = now
    return new
  }

  private func words(_ bytes: [UInt8]) -> [UInt64] {
    bytes.withUnsafeBytes { bytes in
      (0..<bytes.count / 8).map { bytes.loadUnaligned(fromByteOffset: $0 * 8, as: UInt64.self) }
    }
  }
}
