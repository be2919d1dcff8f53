import CDaemonStoreLinux
import Glibc

/// Why a traced thread has stopped, or that it has ended: ptrace(2).
package enum TraceStop: Equatable, Sendable {
  case ended(ProcessEnd)
  /// A signal is about to be delivered.
  case signal(CInt)
  case groupStop
  /// By ``TracedThread/interrupt()``, or because the thread is new.
  case interrupted
  /// fork(2), vfork(2) or clone(2) has made this thread.
  case made(pid_t)
  /// execve(2) has replaced the program.
  case executed
  /// The beginning or the end of a system call.
  case call
  case other
}

/// A thread that the calling thread traces: ptrace(2). Every function but ``seize()``
/// and ``interrupt()`` is for one that has stopped.
package struct TracedThread: Hashable, Sendable {
  package let number: pid_t
  package init(_ number: pid_t) { self.number = number }

  /// Whether this machine's registers are known.
  package static var isSupported: Bool { linux_can_trace() != 0 }

  /// Begins to trace it. It is killed when the tracer ends.
  package func seize() throws(SystemError) {
    try check("ptrace", "PTRACE_SEIZE", linux_trace_seize(number))
  }

  /// Makes it stop soon.
  package func interrupt() throws(SystemError) {
    try check("ptrace", "PTRACE_INTERRUPT", linux_trace_interrupt(number))
  }

  /// What has happened to a thread that the calling one traces, known to it or not; nil while nothing
  /// has. Children of the calling thread are reported too.
  package static func next() throws(SystemError) -> (thread: TracedThread, stop: TraceStop)? {
    var status: CInt = 0
    let number: pid_t
    do throws(SystemError) {
      number = try check("waitpid", nil, linux_trace_wait(&status))
    } catch {
      guard error.code == ECHILD else { throw error }
      return nil
    }
    guard number > 0 else { return nil }
    let thread = TracedThread(number)
    do throws(SystemError) { return (thread, try thread.stop(status)) } catch {
      // Killed since: what made it stop is unknown, and its end is reported next.
      guard error.code == ESRCH else { throw error }
      return (thread, .other)
    }
  }

  /// Whether the calling thread traces anything, or has children.
  package static var hasAny: Bool {
    var information = siginfo_t()
    let everyKind = CInt(0x6000_0000)  // __WALL, __WNOTHREAD
    return waitid(P_ALL, 0, &information, WEXITED | WSTOPPED | WNOHANG | WNOWAIT | everyKind) == 0
  }

  private func stop(_ status: CInt) throws(SystemError) -> TraceStop {
    guard status & 0xff == 0x7f else { return .ended(ProcessEnd(waitStatus: status)) }
    let signal = (status >> 8) & 0xff
    switch status >> 16 {
    case 0: return signal == SIGTRAP | 0x80 ? .call : .signal(signal)
    case 1, 2, 3: return .made(pid_t(truncatingIfNeeded: try message()))
    case 4: return .executed
    case 128: return signal == SIGTRAP ? .interrupted : .groupStop
    default: return .other
    }
  }

  private func message() throws(SystemError) -> UInt64 {
    var message: UInt64 = 0
    try check("ptrace", "PTRACE_GETEVENTMSG", linux_trace_message(number, &message))
    return message
  }

  /// Lets it go on, with a signal to deliver.
  package func resume(delivering signal: CInt = 0) throws(SystemError) {
    try check("ptrace", "PTRACE_CONT", linux_trace_resume(number, signal))
  }

  /// Lets it go on to the next beginning or end of a system call.
  package func resumeToCall() throws(SystemError) {
    try check("ptrace", "PTRACE_SYSCALL", linux_trace_resume_to_call(number))
  }

  /// Leaves it in its group-stop, which SIGCONT ends.
  package func listen() throws(SystemError) {
    try check("ptrace", "PTRACE_LISTEN", linux_trace_listen(number))
  }

  /// Ends tracing, and lets it go on.
  package func detach(delivering signal: CInt = 0) throws(SystemError) {
    try check("ptrace", "PTRACE_DETACH", linux_trace_detach(number, signal))
  }

  /// The word of its memory at an address.
  package func word(at address: UInt64) throws(SystemError) -> UInt64 {
    var word: UInt64 = 0
    try check("ptrace", "PTRACE_PEEKDATA", linux_trace_peek(number, address, &word))
    return word
  }

  /// Writes it, even where the thread itself cannot.
  package func set(_ word: UInt64, at address: UInt64) throws(SystemError) {
    try check("ptrace", "PTRACE_POKEDATA", linux_trace_poke(number, address, word))
  }

  package func registers() throws(SystemError) -> linux_registers {
    var registers = linux_registers()
    try check("ptrace", "PTRACE_GETREGSET", linux_trace_registers(number, &registers))
    return registers
  }

  package func set(_ registers: linux_registers) throws(SystemError) {
    var registers = registers
    try check("ptrace", "PTRACE_SETREGSET", linux_trace_set_registers(number, &registers))
  }

  /// A breakpoint of the processor at an instruction; nil takes it away.
  package func setBreakpoint(_ address: UInt64?) throws(SystemError) {
    try check("ptrace", "breakpoint", linux_trace_break(number, address ?? 0))
  }

  /// Blocks every signal that can be blocked; returns what was blocked.
  package func blockSignals() throws(SystemError) -> UInt64 {
    var old: UInt64 = 0
    try check("ptrace", "PTRACE_SETSIGMASK", linux_trace_block_signals(number, &old))
    return old
  }

  package func setBlockedSignals(_ mask: UInt64) throws(SystemError) {
    try check("ptrace", "PTRACE_SETSIGMASK", linux_trace_set_signals(number, mask))
  }

  /// Where the memory is that names its restartable sequence, rseq(2), if it has any.
  package func sequence() throws(SystemError) -> UInt64? {
    var place: UInt64 = 0
    try check("ptrace", "PTRACE_GET_RSEQ_CONFIGURATION", linux_trace_sequence(number, &place))
    return place == 0 ? nil : place
  }

  /// Where it is in a system call.
  package func call() throws(SystemError) -> linux_traced_call {
    var call = linux_traced_call()
    try check("ptrace", "PTRACE_GET_SYSCALL_INFO", linux_trace_call(number, &call))
    return call
  }

  /// Whether it is a thread of `process`.
  package func isThread(of process: pid_t) -> Bool { linux_is_thread_of(process, number) != 0 }
}

extension linux_registers {
  /// Where the next instruction is.
  package var instruction: UInt64 {
    var copy = self
    return linux_registers_instruction(&copy)
  }

  package var stack: UInt64 {
    var copy = self
    return linux_registers_stack(&copy)
  }

  /// The same thread about to make a system call with the instruction at `place`.
  package func making(call number: Int, _ arguments: [UInt64], at place: UInt64) -> linux_registers
  {
    var copy = self
    let padded = Array((arguments + [0, 0, 0, 0, 0, 0]).prefix(6))
    linux_registers_make_call(&copy, place, UInt64(number), padded)
    return copy
  }

  /// The same thread with an interrupted system call to be made again.
  package func restartingCall() -> linux_registers {
    var copy = self
    linux_registers_restart_call(&copy)
    return copy
  }
}

/// A word of code that begins with the instruction for system calls.
package func withCallInstruction(_ word: UInt64) -> UInt64 { linux_with_call_instruction(word) }
