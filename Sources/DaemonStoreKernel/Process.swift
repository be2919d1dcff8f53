import CDaemonStoreLinux
import Glibc

/// How a process ended: wait(2).
public enum ProcessEnd: Equatable, Sendable {
  /// It called exit(3) or returned from `main`, with this status from 0 to 255.
  case exited(CInt)
  /// A signal with this number ended it, with or without a core dump.
  case killed(signal: CInt)

  init(waitStatus: CInt) {
    let signal = linux_wait_signaled(waitStatus)
    self = signal >= 0 ? .killed(signal: signal) : .exited(linux_wait_exited(waitStatus))
  }
}

/// Forks, into new namespaces of `kinds`; nil in the child. For a process of one thread: only the
/// calling one is in the child.
package func fork(into kinds: NamespaceKinds = []) throws(SystemError) -> pid_t? {
  let process = try check("clone", nil, linux_fork(kinds.rawValue))
  return process == 0 ? nil : process
}

/// Waits for `process`, or for any child when it is -1.
package func wait(for process: pid_t = -1) throws(SystemError) -> (process: pid_t, end: ProcessEnd)
{
  var status: CInt = 0
  let ended = try check("waitpid", nil, waitpid(process, &status, 0))
  return (ended, ProcessEnd(waitStatus: status))
}

/// A pipe whose ends both close on exec.
package struct Pipe: ~Copyable {
  package let reading: Descriptor
  package let writing: Descriptor

  package init() throws(SystemError) {
    var ends: [CInt] = [-1, -1]
    try check("pipe", nil, linux_pipe(&ends))
    reading = Descriptor(owning: ends[0])
    writing = Descriptor(owning: ends[1])
  }

  /// Keeps the one end and closes the other.
  package consuming func intoReading() -> Descriptor { reading }
  package consuming func intoWriting() -> Descriptor { writing }
}

/// The signals of one process, as sigprocmask(2) takes them.
package struct SignalMask {
  private var set = sigset_t()

  /// Blocks every signal that the kernel does not raise for a fault of our own, and returns what
  /// was blocked before. A blocked signal is not lost: ``next()`` takes it.
  package static func blockAll() throws(SystemError) -> SignalMask {
    var all = sigset_t()
    var old = SignalMask()
    sigfillset(&all)
    for fault in [SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS] {
      sigdelset(&all, fault)
    }
    try check("sigprocmask", nil, sigprocmask(SIG_BLOCK, &all, &old.set))
    return old
  }

  /// Unblocks one signal, and returns what was blocked before.
  package static func allow(_ signal: CInt) throws(SystemError) -> SignalMask {
    var set = sigset_t()
    var old = SignalMask()
    sigemptyset(&set)
    sigaddset(&set, signal)
    try check("sigprocmask", nil, sigprocmask(SIG_UNBLOCK, &set, &old.set))
    return old
  }

  /// Blocks these signals, and gives a descriptor that they can be read from.
  package static func block(_ signals: [CInt]) throws(SystemError) -> SignalDescriptor {
    var set = sigset_t()
    sigemptyset(&set)
    for signal in signals { sigaddset(&set, signal) }
    try check("sigprocmask", nil, sigprocmask(SIG_BLOCK, &set, nil))
    return SignalDescriptor(Descriptor(owning: try check("signalfd", nil, linux_signalfd(&set))))
  }

  /// A descriptor that every blocked signal can be read from: signalfd(2).
  package static func descriptor() throws(SystemError) -> SignalDescriptor {
    var all = sigset_t()
    sigfillset(&all)
    return SignalDescriptor(Descriptor(owning: try check("signalfd", nil, linux_signalfd(&all))))
  }

  /// The same for some of them, which are blocked already.
  package static func descriptor(of signals: [CInt]) throws(SystemError) -> SignalDescriptor {
    var set = sigset_t()
    sigemptyset(&set)
    for signal in signals { sigaddset(&set, signal) }
    return SignalDescriptor(Descriptor(owning: try check("signalfd", nil, linux_signalfd(&set))))
  }

  package func restore() throws(SystemError) {
    var set = set
    try check("sigprocmask", nil, sigprocmask(SIG_SETMASK, &set, nil))
  }

  /// Waits for any signal and takes it: sigwaitinfo(2).
  package static func next() throws(SystemError) -> CInt {
    var all = sigset_t()
    sigfillset(&all)
    return try check("sigwaitinfo", nil, sigwaitinfo(&all, nil))
  }
}

/// What has arrived of the blocked signals, for who waits for other things too.
package struct SignalDescriptor: ~Copyable {
  package let descriptor: Descriptor
  fileprivate init(_ descriptor: consuming Descriptor) { self.descriptor = descriptor }

  /// Takes one that has arrived; nil when there is none.
  package func next() throws(SystemError) -> CInt? {
    let signal = try check("read", "signalfd", linux_next_signal(descriptor.number))
    return signal == 0 ? nil : signal
  }
}

extension Descriptor {
  /// The process, a child that has not been waited for: readable as soon as it has ended
  /// (pidfd_open(2)).
  package init(process: pid_t) throws(SystemError) {
    self.init(owning: try check("pidfd_open", "\(process)", linux_pidfd_open(process)))
  }
}

/// Waits until one of the descriptors is readable or has lost its other end; says which are.
package func waitUntilReadable(_ descriptors: [CInt]) throws(SystemError) -> [Bool] {
  try wait(for: descriptors.map { ($0, CInt(POLLIN)) })
}

/// Waits until something of what was asked for, or an error, is at one of the descriptors, or until
/// the time is over unless that is negative; says at which: poll(2).
package func wait(
  for events: [(descriptor: CInt, events: CInt)], milliseconds: CInt = -1
) throws(SystemError) -> [Bool] {
  var entries = events.map { pollfd(fd: $0, events: Int16($1), revents: 0) }
  try check("poll", nil, poll(&entries, nfds_t(entries.count), milliseconds))
  return entries.map { $0.revents != 0 }
}

/// prlimit(2): the soft and the hard limit of one kind (`RLIMIT_…`); `UInt64.max` for none.
package func setLimit(
  _ kind: CInt, soft: UInt64, hard: UInt64, of process: pid_t = 0, named name: FilePath
) throws(SystemError) {
  try check("prlimit", name, linux_set_limit(process, kind, soft, hard))
}

/// `KILL` for 9; a real-time signal has no name.
package func signalName(_ signal: CInt) -> String {
  linux_signal_name(signal).map { "SIG\(String(cString: $0))" } ?? "signal \(signal)"
}

/// Gives back the memory of the code that has run so far, most of which was to start; the rest comes
/// back page by page. For a program that stays.
package func releaseCode() { linux_release_code() }

/// Runs a function in a thread of its own, and waits for its end. The thread's tracees end with it.
package func inThread(_ body: () -> Void) throws(SystemError) {
  let code = withoutActuallyEscaping(body) { body in
    let box = ThreadWork(body)
    var thread = pthread_t()
    let code = pthread_create(
      &thread, nil,
      { pointer in
        if let pointer { Unmanaged<ThreadWork>.fromOpaque(pointer).takeUnretainedValue().run() }
        return nil
      }, Unmanaged.passUnretained(box).toOpaque())
    if code == 0 { pthread_join(thread, nil) }
    return code
  }
  guard code == 0 else { throw SystemError(operation: "pthread_create", path: nil, code: code) }
}

private final class ThreadWork {
  let run: () -> Void
  init(_ run: @escaping () -> Void) { self.run = run }
}
