import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel

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
  /// Shared memory without a name: see ``fix(_:)``.
  private var memory: UInt64 = 0
  private let size: UInt64

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
    size = Place.instructions + UInt64(jail.configuration.filter?.completion.bytes.count ?? 0)
    (place, code) = try jail.tracing { () throws(SystemError) in
      // On the page that is to be executed next.
      let place = try main.registers().instruction & ~7
      let code = try main.word(at: place)
      try main.set(withCallInstruction(code), at: place)
      return (place, code)
    }
    try enter(main)
    let result = try make(
      linux_call_mmap,
      [
        0, size, UInt64(PROT_READ | PROT_WRITE), UInt64(MAP_SHARED | MAP_ANONYMOUS),
        UInt64(bitPattern: -1), 0,
      ])
    guard result > 0 else { throw Self.failure("mmap", result) }
    memory = UInt64(result)
  }

  func address(_ place: UInt64) -> UInt64 { memory + place }

  typealias Part = (place: UInt64, words: [UInt64])

  /// The program, and other processes of its user, may change it again.
  func write(_ parts: [Part]) throws(JailError) {
    try jail.tracing { () throws(SystemError) in
      for part in parts {
        for (index, word) in part.words.enumerated() {
          try main.set(word, at: memory + part.place + UInt64(index) * 8)
        }
      }
    }
  }

  /// Writes what no process can change afterwards. A read-only mapping of shared memory cannot be
  /// written to through `/proc/PID/mem` either, unlike a private one, nor mapped by another process, as
  /// it has no name and no descriptor. The program's other threads have stopped, and this one
  /// makes no call but the launcher's.
  mutating func fix(_ parts: [Part]) throws(JailError) {
    try write(parts)
    try expectSuccess("mprotect", linux_call_mprotect, [memory, size, UInt64(PROT_READ)])
    let isWritten = try jail.tracing { () throws(SystemError) -> Bool in
      for part in parts {
        for (index, word) in part.words.enumerated()
        where try main.word(at: memory + part.place + UInt64(index) * 8) != word { return false }
      }
      return true
    }
    guard isWritten else {
      throw JailError(
        "another process writes to the memory of the program", status: ExitStatus.noJail)
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
    _ what: String, _ number: Int, _ arguments: [UInt64]
  ) throws(JailError) {
    let result = try make(number, arguments)
    guard result == 0 else { throw Self.failure(what, result) }
  }

  static func failure(_ what: String, _ result: Int64) -> JailError {
    let code = CInt(truncatingIfNeeded: -result)
    let text =
      result > 0
      ? "\(what): thread \(result) could not follow"
      : "\(SystemError(operation: what, path: nil, code: code))"
    return JailError(text, status: ExitStatus.noJail)
  }

  /// Makes one call, and returns its result or minus its error.
  mutating func make(_ number: Int, _ arguments: [UInt64]) throws(JailError) -> Int64 {
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
