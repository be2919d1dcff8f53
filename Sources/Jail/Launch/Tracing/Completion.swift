import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel

/// What is done in the program at its entry point, by system calls that the launcher makes it make:
/// its whole memory and all its descriptors may be an attacker's by then. Every call is checked
/// when it begins and when it ends, and its memory is written in between: what the program could
/// make a thread do on the way to the call (rseq(2), a handler) changes nothing, or is noticed.
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

  private func load(_ filter: SystemCallFilter, _ calls: inout ProgramCalls) throws(JailError) {
    typealias Place = ProgramCalls.Place
    let bytes = filter.completion.bytes
    let flags = filter.flags.union(.synchronizesThreads)
    try calls.expectSuccess(
      "load the filter of \(filter.name)", linux_call_seccomp,
      [UInt64(SECCOMP_SET_MODE_FILTER), UInt64(flags.rawValue), calls.address(Place.filter)],
      with: [
        (Place.instructions, words(bytes)),
        (Place.filter, [UInt64(bytes.count / 8), calls.address(Place.instructions)]),
      ])
  }

  /// Gives the rules for files to the program, which has never had them: a program could add rules.
  ///
  /// - Returns: the number that they have in the program.
  private func takeRuleset(_ calls: inout ProgramCalls) throws(JailError) -> UInt64? {
    guard let ruleset = ruleset.take() else { return nil }
    try calls.expectSuccess(
      "socketpair", linux_call_socketpair,
      [UInt64(AF_UNIX), UInt64(SOCK_SEQPACKET.rawValue), 0, calls.address(0)])
    let ends = try calls.read(0)
    let (near, far) = (ends & 0xffff_ffff, ends >> 32)
    let main = calls.main
    do throws(SystemError) {
      let process = try Descriptor(process: main.number)
      let end = try copyDescriptor(CInt(truncatingIfNeeded: near), of: process)
      try ReportSockets.send([UInt8(ascii: "r")], with: ruleset.number, to: end.number)
    } catch {
      let hint =
        error.code == EPERM
        ? "; the rules of a program of another user need CAP_SYS_PTRACE, or --jail-by=preload" : ""
      throw JailError("rules for files: \(error)\(hint)", status: ExitStatus.noJail)
    }
    typealias Place = ProgramCalls.Place
    // struct iovec, struct msghdr and room for one descriptor.
    let message = [0, 0, calls.address(Place.vector), 1, calls.address(Place.control), 24, 0]
    let flags = UInt64(MSG_CMSG_CLOEXEC) | UInt64(MSG_DONTWAIT)
    let count = try calls.make(
      linux_call_recvmsg, [far, calls.address(Place.message), flags],
      with: [(Place.vector, [calls.address(Place.byte), 1]), (Place.message, message)])
    guard count == 1, try calls.read(Place.control) == 20
    else { throw JailError("the rules for files did not arrive", status: ExitStatus.noJail) }
    let number = try calls.read(Place.control + 16) & 0xffff_ffff
    for end in [near, far] { try calls.expectSuccess("close", linux_call_close, [end]) }
    return number
  }

  private func words(_ bytes: [UInt8]) -> [UInt64] {
    bytes.withUnsafeBytes { bytes in
      (0..<bytes.count / 8).map { bytes.loadUnaligned(fromByteOffset: $0 * 8, as: UInt64.self) }
    }
  }
}

/// System calls made by the threads of a program that has stopped.
struct ProgramCalls {
  /// Places in the memory that is mapped for the arguments.
  enum Place {
    static let message: UInt64 = 64
    static let vector: UInt64 = 128
    static let control: UInt64 = 160
    static let byte: UInt64 = 192
    static let filter: UInt64 = 208
    static let instructions: UInt64 = 256
  }

  let main: TracedThread
  private let jail: StartingJail
  /// Where the instruction for system calls is put, and what was there.
  private let place: UInt64
  private let code: UInt64
  private var memory: UInt64 = 0

  private struct Saved {
    let registers: linux_registers
    let blocked: UInt64
    /// Where the thread names a critical section of rseq(2), and which.
    let sequence: (place: UInt64, section: UInt64)?
  }

  private var current: TracedThread
  private var saved: Saved?
  private var stops = false

  init(_ main: TracedThread, _ jail: StartingJail) throws(JailError) {
    self.main = main
    self.jail = jail
    current = main
    (place, code) = try jail.tracing { () throws(SystemError) in
      // On the page that is to be executed next.
      let place = try main.registers().instruction & ~7
      let code = try main.word(at: place)
      try main.set(withCallInstruction(code), at: place)
      return (place, code)
    }
    try enter(main)
    // Nothing that the program has mapped will do: it may be shared with another process.
    let size = Place.instructions + UInt64(jail.configuration.filter?.completion.bytes.count ?? 0)
    let result = try make(
      linux_call_mmap,
      [
        0, size, UInt64(PROT_READ | PROT_WRITE), UInt64(MAP_PRIVATE | MAP_ANONYMOUS),
        UInt64(bitPattern: -1), 0,
      ])
    guard result > 0 else { throw Self.failure("mmap", result) }
    memory = UInt64(result)
  }

  func address(_ place: UInt64) -> UInt64 { memory + place }

  func read(_ place: UInt64) throws(JailError) -> UInt64 {
    try jail.tracing { () throws(SystemError) in try main.word(at: memory + place) }
  }

  /// At the beginning of a call only: before, the program could change it.
  private func write(_ words: [UInt64], at place: UInt64) throws(SystemError) {
    for (index, word) in words.enumerated() {
      try main.set(word, at: memory + place + UInt64(index) * 8)
    }
  }

  /// The calls that follow are this thread's. No signal is delivered to it meanwhile.
  mutating func enter(_ thread: TracedThread) throws(JailError) {
    if thread == current, saved != nil { return }
    if saved != nil { try leave() }
    current = thread
    saved = try jail.tracing { () throws(SystemError) in
      // The kernel would move the thread to the handler of its critical section, or forget that it is
      // in one.
      let sequence = try thread.sequence().map { (place) throws(SystemError) in
        let section = try thread.word(at: place)
        if section != 0 { try thread.set(0, at: place) }
        return (place: place, section: section)
      }
      return Saved(
        registers: try thread.registers(), blocked: try thread.blockSignals(), sequence: sequence)
    }
  }

  /// Gives the thread back what it had.
  mutating func leave() throws(JailError) {
    guard let saved else { return }
    self.saved = nil
    let current = current
    try jail.tracing { () throws(SystemError) in
      try current.set(saved.registers.restartingCall())
      try current.setBlockedSignals(saved.blocked)
      if let (place, section) = saved.sequence, section != 0 {
        try current.set(section, at: place)
      }
    }
  }

  /// Takes the instruction away, and stops the program again if it was to stop meanwhile.
  func finish() throws(JailError) {
    try jail.tracing { () throws(SystemError) in
      try main.set(code, at: place)
      if stops { try check("kill", nil, kill(main.number, SIGSTOP)) }
    }
  }

  mutating func expectSuccess(
    _ what: String, _ number: Int, _ arguments: [UInt64],
    with memory: [(place: UInt64, words: [UInt64])] = []
  ) throws(JailError) {
    let result = try make(number, arguments, with: memory)
    guard result == 0 else { throw Self.failure(what, result) }
  }

  private static func failure(_ what: String, _ result: Int64) -> JailError {
    let code = CInt(truncatingIfNeeded: -result)
    let text =
      result > 0
      ? "\(what): thread \(result) could not follow"
      : "\(SystemError(operation: what, path: nil, code: code))"
    return JailError(text, status: ExitStatus.noJail)
  }

  /// Makes one call, and returns its result or minus its error.
  ///
  /// - Parameter memory: what the kernel reads there.
  mutating func make(
    _ number: Int, _ arguments: [UInt64], with memory: [(place: UInt64, words: [UInt64])] = []
  ) throws(JailError) -> Int64 {
    guard let saved else { preconditionFailure("no thread was entered") }
    let current = current
    let place = place
    try jail.tracing { () throws(SystemError) in
      try current.set(saved.registers.making(call: number, arguments, at: place))
    }
    let begun = try nextCall()
    let made = [
      begun.arguments.0, begun.arguments.1, begun.arguments.2, begun.arguments.3,
      begun.arguments.4, begun.arguments.5,
    ]
    guard begun.place == 1, begun.number == UInt64(number), made.starts(with: arguments),
      isOurs(begun)
    else {
      throw JailError("it makes other system calls than it is told", status: ExitStatus.noJail)
    }
    try jail.tracing { () throws(SystemError) in
      for part in memory { try self.write(part.words, at: part.place) }
    }
    let ended = try nextCall()
    guard ended.place == 2, isOurs(ended) else {
      throw JailError("a system call did not end", status: ExitStatus.noJail)
    }
    return ended.result
  }

  /// Whether the thread is at the instruction that was put there, and makes a call of this machine.
  private func isOurs(_ call: linux_traced_call) -> Bool {
    call.architecture == linux_native_architecture
      && call.instruction == place + linux_call_instruction_size
  }

  /// Lets the thread go on to the next beginning or end of a call.
  private mutating func nextCall() throws(JailError) -> linux_traced_call {
    let current = current
    while true {
      try jail.tracing { () throws(SystemError) in try current.resumeToCall() }
      switch try jail.wait(for: current) {
      case .call: return try jail.tracing { () throws(SystemError) in try current.call() }
      case .interrupted, .groupStop, .signal(SIGCONT): continue  // asked for before it stopped
      case .signal(SIGSTOP): stops = true
      case .signal(let signal):
        throw JailError(
          "\(signalName(signal)) came while the jail was completed", status: ExitStatus.noJail)
      case .ended(let end):
        if current == main { jail.programEnd = end }
        throw JailError("it was killed while the jail was completed", status: ExitStatus.noJail)
      case .made, .executed, .other:
        throw JailError("it does something else than it is told", status: ExitStatus.noJail)
      }
    }
  }
}

extension StartingJail {
  /// The next stop of this thread, while all others have stopped.
  func wait(for thread: TracedThread) throws(JailError) -> TraceStop {
    while true {
      try clock.check()
      while let (other, stop) = try nextStop() {
        if other == thread { return stop }
        try take(stop, of: other.number)
        guard programEnd == nil, images == completedImage else {
          throw JailError("it ended while the jail was completed", status: ExitStatus.noJail)
        }
      }
      try awaitEvent()
    }
  }
}
