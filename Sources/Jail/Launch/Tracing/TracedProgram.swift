import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel

/// What the kernel says of a program at execve(2), before any instruction of it has run.
struct ProgramImage {
  let entry: UInt64
  /// Whether a dynamic loader runs before the entry point.
  let hasLoader: Bool

  /// Reads the auxiliary vector from the stack, which nothing but the kernel has written to:
  /// getauxval(3).
  init(of thread: TracedThread) throws(SystemError) {
    var place = try thread.registers().stack
    func next() throws(SystemError) -> UInt64 {
      defer { place += 8 }
      return try thread.word(at: place)
    }
    place += 8 * (try next() + 1)  // the arguments and their end
    while try next() != 0 {}  // the environment
    var entry: UInt64?
    var base: UInt64 = 0
    while true {
      let (kind, value) = (try next(), try next())
      switch kind {
      case 0:
        guard let entry else {
          throw SystemError(operation: "auxv", path: "AT_ENTRY", code: ENOEXEC)
        }
        self.entry = entry
        hasLoader = base != 0
        return
      case 7: base = value
      case 9: entry = value
      default: break
      }
    }
  }
}

extension StartingJail {
  /// Begins to trace the first process of the jail, which waits for ``releaseJail()``.
  func beginTracing() throws(JailError) {
    guard TracedThread.isSupported else {
      throw JailError(
        "a jail is completed from outside on x86-64 and aarch64 alone; use --jail-by=preload, "
          + "which trusts the program")
    }
    isTracing = true
    do throws(SystemError) { try TracedThread(first).seize() } catch {
      throw TracingRefusal.error(of: first, error)
    }
    threads = [first: .running]
    isInitTraced = configuration.processNamespace == .withInit
    if !isInitTraced { program = first }
  }

  /// Deals with all stops that have happened; nil while there is more to wait for.
  func advanceTracing() throws(JailError) -> Result? {
    while true {
      try takeStops()
      if let programEnd, let program { return result(of: programEnd, program) }
      if images > 0, !expectsCompletion {
        try tracing { () throws(SystemError) in try self.detachAll() }
        return try completeWithoutInit()
      }
      guard isAtEntry, let program else { return nil }
      if try complete(TracedThread(program)) { return try completeWithoutInit() }
    }
  }

  /// Waits until the init is not traced any more: the kernel may let the program run before it lets the
  /// init tell of its birth, and would kill an init that is traced when this thread ends.
  private func completeWithoutInit() throws(JailError) -> Result {
    while isInitTraced {
      try takeStops()
      if isInitTraced { try awaitEvent() }
    }
    return .complete
  }

  /// An error of ptrace(2) once the program was executed.
  func tracing<Value: ~Copyable>(
    _ body: () throws(SystemError) -> Value
  ) throws(JailError) -> Value {
    try step("it could not be completed", status: ExitStatus.noJail, body)
  }

  /// Deals with stops that have happened; ``hasMoreStops`` when others come first.
  func takeStops() throws(JailError) {
    hasMoreStops = false
    for _ in 0..<64 {
      guard let (thread, stop) = try nextStop() else { return }
      try take(stop, of: thread.number)
      if programEnd != nil { return }
    }
    hasMoreStops = true
  }

  func nextStop() throws(JailError) -> (thread: TracedThread, stop: TraceStop)? {
    try tracing { () throws(SystemError) in try TracedThread.next() }
  }

  func take(_ stop: TraceStop, of number: pid_t) throws(JailError) {
    if case .ended(let end) = stop {
      threads[number] = nil
      doomed.remove(number)
      if number == program || number == first { programEnd = end }
      if number == first { isInitTraced = false }
      if number == first, program == nil { program = first }
      return
    }
    if number == first, let program, program != first {
      return try release(TracedThread(first), stop)
    }
    // Its first stop may come before that of the thread that made it, whose may never come.
    if threads[number] == nil, !doomed.contains(number) { adopt(number) }
    if doomed.contains(number) {
      kill(number, SIGKILL)
      return
    }
    let thread = TracedThread(number)
    switch stop {
    case .ended: break
    case .made(let new):
      adopt(new)
      guard number == first, program == new else {
        return try goOn(thread, toEndOfCall: true)
      }
      try release(thread, stop)
    case .executed: try takeImage(thread)
    case .signal(SIGTRAP) where isEntry(thread):
      threads[number] = .stopped(0)
      isAtEntry = true
    case .signal(let signal) where postpones(signal): try goOn(thread)
    case .signal(let signal):
      if isHalting { threads[number] = .stopped(signal) } else { try goOn(thread, signal) }
    case .groupStop:
      if isHalting {
        threads[number] = .stopped(0)
      } else if images == 0 {
        kill(number, SIGCONT)
        try goOn(thread)
      } else {
        try ignoringEnd { () throws(SystemError) in try thread.listen() }
      }
    case .interrupted:
      if isHalting { threads[number] = .stopped(0) } else { try goOn(thread) }
    case .call: try takeCallStop(thread)
    case .other: try goOn(thread, toEndOfCall: true)
    }
  }

  /// An init is not traced any longer when the kernel has told that it made the program, which may have got
  /// as far as execve(2) before.
  private func release(_ initProcess: TracedThread, _ stop: TraceStop) throws(JailError) {
    var signal: CInt = 0
    if case .signal(let number) = stop { signal = number }
    try ignoringEnd { () throws(SystemError) in
      if case .made = stop {
        isInitTraced = false
        try initProcess.detach()
      } else {
        try initProcess.resume(delivering: signal)
      }
    }
    threads[first] = nil
  }

  /// Before the first image nothing but the set-up runs, which another process of the program's user
  /// must not stop. Later the stop key of a terminal waits with the launcher's.
  private func postpones(_ signal: CInt) -> Bool {
    guard images == 0 || !isHalting else { return false }
    if signal == SIGTSTP { stopsLater = true }
    return signal == SIGTSTP || images == 0 && [SIGSTOP, SIGTTIN, SIGTTOU].contains(signal)
  }

  /// The end of execve(2) of a program without a loader, or of a call during which all were to stop.
  private func takeCallStop(_ thread: TracedThread) throws(JailError) {
    let isEnd = try tracing { () throws(SystemError) in try thread.call().place == 2 }
    guard isEnd, isHalting || image?.hasLoader == false || !trustsLoader else {
      return try goOn(thread, toEndOfCall: isHalting)
    }
    threads[thread.number] = .stopped(0)
    if !isHalting { isAtEntry = true }
  }

  private func isEntry(_ thread: TracedThread) -> Bool {
    guard thread.number == program, let image, let registers = try? thread.registers() else {
      return false
    }
    return registers.instruction == image.entry
  }

  private func goOn(
    _ thread: TracedThread, _ signal: CInt = 0, toEndOfCall: Bool = false
  ) throws(JailError) {
    threads[thread.number] = .running
    try ignoringEnd { () throws(SystemError) in
      if toEndOfCall, isHalting {
        try thread.resumeToCall()
      } else {
        try thread.resume(delivering: signal)
      }
    }
  }

  /// A thread that was killed meanwhile is reported by the next wait.
  func ignoringEnd(_ body: () throws(SystemError) -> Void) throws(JailError) {
    try tracing { () throws(SystemError) in
      do throws(SystemError) { try body() } catch { if error.code != ESRCH { throw error } }
    }
  }

  /// Takes a new thread of the program in; kills a new process, but the program that an init has
  /// forked.
  private func adopt(_ new: pid_t) {
    guard threads[new] == nil, !doomed.contains(new) else { return }
    if images == 0, program == nil {
      program = new
      threads[new] = .running
    } else if let program, TracedThread(new).isThread(of: program) {
      threads[new] = .running
    } else {
      doomed.insert(new)
      kill(new, SIGKILL)
    }
  }

  /// Starts over with what execve(2) has put in the program's place.
  private func takeImage(_ thread: TracedThread) throws(JailError) {
    try takeMessages()
    if configuration.usesTrampoline, !trampolineRuns {
      trampolineRuns = true
      return try goOn(thread)
    }
    images += 1
    isHalting = false
    isAtEntry = false
    threads = [thread.number: .running]
    guard expectsCompletion else { return }
    if images == 1 {
      filters = try SeccompState(of: thread.number, thread: thread.number)
    } else {
      trustsLoader = true  // what a hostile loader could do, a constructor could as well
    }
    let image = try tracing { () throws(SystemError) in try ProgramImage(of: thread) }
    self.image = image
    guard image.hasLoader, trustsLoader else {
      return try ignoringEnd { () throws(SystemError) in try thread.resumeToCall() }
    }
    do throws(SystemError) { try thread.setBreakpoint(image.entry) } catch {
      if error.code == ESRCH { return }  // killed: the next wait says so
      throw JailError(
        "no breakpoint can be set at its entry point 0x\(String(image.entry, radix: 16)), and "
          + "\(error); --jail-by=preload does without, but trusts the program",
        status: ExitStatus.noJail)
    }
    try ignoringEnd { () throws(SystemError) in try thread.resume() }
  }

  func detachAll() throws(SystemError) {
    // While it is stopped: it stops before it runs again.
    if stopsLater, let program { kill(program, SIGTSTP) }
    stopsLater = false
    for (number, state) in threads {
      let signal: CInt = if case .stopped(let signal) = state { signal } else { 0 }
      do throws(SystemError) { try TracedThread(number).detach(delivering: signal) } catch {
        guard error.code == ESRCH else { throw error }
      }
    }
    threads = [:]
  }
}

/// Why ptrace(2) was refused, in one line with a way out.
enum TracingRefusal {
  static func error(of process: pid_t, _ error: SystemError) -> JailError {
    JailError(
      "the launcher must trace the program to complete its jail, and \(reason(process, error)); "
        + "--jail-by=preload does without, but trusts the program")
  }

  private static func reason(_ process: pid_t, _ error: SystemError) -> String {
    guard error.code == EPERM || error.code == ENOSYS || error.code == EACCES else {
      return "\(error)"
    }
    if let text = (try? kernelFile("/proc/\(process)/status"))?.field("TracerPid"),
      !text.equals("0")
    {
      let text = FilePath(truncating: text)
      let name = (try? kernelFile("/proc/\(text)/comm")).map { oneLine($0) } ?? "a debugger"
      return "\(name) (pid \(text)) traces it already"
    }
    let yama = (try? kernelFile("/proc/sys/kernel/yama/ptrace_scope")).map { oneLine($0) }
    if yama == "3" { return "Yama forbids ptrace(2) (kernel.yama.ptrace_scope=3)" }
    if yama == "2" { return "Yama asks for CAP_SYS_PTRACE (kernel.yama.ptrace_scope=2)" }
    if let seccomp = (try? kernelFile("/proc/self/status"))?.field("Seccomp"), !seccomp.equals("0")
    {
      return "a filter of system calls that the launcher runs under (a container's) forbids "
        + "ptrace(2)"
    }
    return "the kernel refuses it: \(error)"
  }

  private static func oneLine(_ bytes: [UInt8]) -> String {
    DaemonStoreKernel.oneLine(
      String(decoding: bytes.prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self))
  }
}
