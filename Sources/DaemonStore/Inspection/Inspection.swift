import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel

/// Looks at processes, sockets and mount namespaces of others in a child process.
///
/// A look at another user's process can wait for that user for ever, and through SIGKILL: for the
/// memory map of a process, for the lock of a socket, for the server of a FUSE file that closing one
/// calls. So no process looks that has a lock or a vault open. The child has neither, says what it is
/// about to look at, and is left behind when it says nothing more.
enum Inspection {
  /// How long nothing may be heard of a look.
  private static let timeout = Duration.seconds(5)
  /// The same of one that goes on, and does not say so.
  private static let longTimeout = Duration.seconds(12)
  /// How long an inspection may take where the caller does not say.
  private static let timeToLook = Duration.seconds(30)
  /// How many processes may be left behind, by all commands: no new one is started then.
  private static let limit = 8

  /// The pipe to the process that waits for the answer; nil in a process that does not inspect.
  nonisolated(unsafe) private static var output: CInt?
  /// What a child of this process, or of another command, has not come back from.
  nonisolated(unsafe) static var culprits: Set<FilePath> = []
  /// Children whose end is not known yet.
  nonisolated(unsafe) private static var children: [pid_t] = []
  /// How many processes were left behind, by other commands and by this one.
  nonisolated(unsafe) private static var lost: Int?

  /// What an inspection is about: what is skipped for one is looked at for the other.
  enum Kind: String, CaseIterable {
    /// Files that processes use.
    case files = "look"
    /// Mount namespaces.
    case namespaces = "list"

    /// What a process is called that has said all: what it looked at last does not keep it.
    var done: FilePath { "\(rawValue) done" }
  }

  nonisolated(unsafe) private(set) static var kind = Kind.files
  /// How its time is divided.
  nonisolated(unsafe) static var shares = TimeShares(until: .now + timeToLook, favoured: [])
  /// `/proc/self/comm` of an inspecting process.
  nonisolated(unsafe) private static var comm: CInt = -1

  /// Whether this process was started to look.
  static var isHere: Bool { output != nil }

  /// This process, and those that look for it or that it looks for: they are no holders.
  static var ownProcesses: Set<pid_t> {
    Set(children + [getpid()] + (isHere ? [getppid()] : []))
  }

  /// Says that a process (by its number) or device is looked at next.
  ///
  /// - Returns: whether that may be done: an earlier inspection has not come back from it else.
  static func begins(at subject: FilePath) -> Bool {
    let label: FilePath = "\(kind.rawValue) \(subject)"
    guard !culprits.contains(label) else { return false }
    guard isHere else { return true }
    // It is the process's name, too: so the next command knows what to leave alone.
    _ = write(comm, label.cString, label.bytes.count)
    say(label)
    return true
  }

  /// Says that the look at the same goes on.
  ///
  /// - Returns: whether it may: there is no more time for this user's things else, and the rest of them is
  ///   left out.
  static func goesOn() -> Bool {
    !isHere || shares.goesOn { say("") }
  }

  /// Says that the looks are over, and that what was found is put together.
  static func ends() { if isHere { say(noLabel) } }

  private static let noLabel: FilePath = "-"

  private static func say(_ label: FilePath) {
    let line = [UInt8(ascii: "?"), UInt8(label.bytes.count)] + label.bytes
    guard let output, write(output, line, line.count) == line.count else { _exit(1) }
  }

  /// Runs `body` in a child, and gives what it returns. In a child it runs at once.
  ///
  /// - Parameters:
  ///   - kept: the descriptors that it needs.
  ///   - owner: the user whose things come first, beside root's.
  ///   - unknowns: takes up what the child did not come back from.
  /// - Returns: nil where there is no answer: why is in `unknowns`.
  static func run<Value: Transferable>(
    _ kind: Kind, keeping kept: [CInt] = [], for owner: uid_t? = nil,
    until deadline: ContinuousClock.Instant? = nil, _ unknowns: Unknowns,
    _ body: () throws -> Value
  ) throws -> Value? {
    if isHere { return try body() }
    let end = deadline ?? .now + timeToLook
    let favoured = Set([0, getuid()] + (owner.map { [$0] } ?? []))
    var lost = lost ?? leftBehind()
    defer { self.lost = lost }
    var tries = 4
    while true {
      let named = culprits.filter { $0.dropping(prefix: "\(kind.rawValue) ") != nil }.sorted()
      for label in named { unknowns.add(reason(label)) }
      // One may be chance.
      let skipped = Set(
        Dictionary(grouping: named.compactMap { user(of: $0) }) { $0 }
          .filter { $0.value.count > 1 }.keys
      ).subtracting(favoured)
      for user in skipped.sorted() { unknowns.add("the other processes of user \(user)") }
      guard tries > 0, lost < limit else {
        unknowns.add("\(kind.noun): \(lost) inspections have not ended")
        return nil
      }
      guard ContinuousClock.now < end else {
        unknowns.add("all \(kind.noun) within the time that there is")
        return nil
      }
      let start = {
        shares = TimeShares(until: end, favoured: favoured)
        shares.skipped = skipped
      }
      switch try attempt(kind, keeping: kept, until: end, start, body) {
      case .answer(let answer):
        let found: Value = try value(of: answer)
        return found
      case .silence(let label):
        lost += 1
        if let label { culprits.insert(label) }
      case .late(let label):
        // The next inspection of this command does without.
        if let label { culprits.insert(label) }
        unknowns.add("all \(kind.noun) within the time that there is")
      case .crash: unknowns.add("\(kind.noun): the inspection was ended")
      }
      tries -= 1
    }
  }

  /// What comes after the kind.
  private static func subject(of label: FilePath) -> [UInt8] {
    Array(label.bytes.drop { $0 != UInt8(ascii: " ") }.dropFirst())
  }

  /// The user who answers for the process that a label is about.
  private static func user(of label: FilePath) -> uid_t? {
    subject(of: label).number().flatMap { Processes.responsibleUser(of: $0) }
  }

  private static func reason(_ label: FilePath) -> String {
    let subject = subject(of: label)
    let end = "the inspection did not end within \(timeout.components.seconds) s"
    guard let process: pid_t = subject.number() else {
      return "\(shownBytes(subject[...])): \(end)"
    }
    let user = ProcessName.user(of: process).map { " of user \($0)" } ?? ""
    return "\(ProcessName(process))\(user): \(end)"
  }
}

extension Inspection.Kind {
  var noun: String {
    switch self {
    case .files: "processes"
    case .namespaces: "mount namespaces"
    }
  }
}

extension Inspection {
  private enum Outcome {
    case answer([UInt8])
    /// Nothing more was heard after this was begun.
    case silence(FilePath?)
    /// The time is over; most of it went by after this was begun.
    case late(FilePath?)
    case crash
  }

  private static func value<Value: Transferable>(of bytes: [UInt8]) throws -> Value {
    var answer = Answer(bytes)
    switch try answer.number(UInt8.self) {
    case 0: return try Value(from: &answer)
    case 1:
      let operation = try String(from: &answer)
      let path = try FilePath?(from: &answer)
      throw SystemError(operation: operation, path: path, code: try answer.number())
    default: throw Failure(description: try String(from: &answer))
    }
  }

  /// An error of the child's that is no error of a system call.
  private struct Failure: Error, CustomStringConvertible {
    let description: String
  }

  private static func attempt<Value: Transferable>(
    _ kind: Kind, keeping kept: [CInt], until end: ContinuousClock.Instant, _ start: () -> Void,
    _ body: () throws -> Value
  ) throws -> Outcome {
    let pipe = try Pipe()
    let parent = getpid()
    guard let child = try fork() else {
      become(kind, pipe.writing.number, kept, parent)
      start()
      var answer = Answer([UInt8(ascii: "!")])
      do {
        let value = try body()
        ends()
        answer.write(number: 0)
        value.write(to: &answer)
      } catch let error as SystemError {
        answer.write(number: 1)
        error.operation.write(to: &answer)
        error.path.write(to: &answer)
        answer.write(number: error.code)
      } catch {
        answer.write(number: 2)
        "\(error)".write(to: &answer)
      }
      send(answer.bytes)
    }
    let reading = pipe.intoReading()
    let outcome = try listen(to: child, reading, until: end)
    // It is not waited for: it may be in a call that no signal ends.
    if case .answer = outcome {} else { kill(child, SIGKILL) }
    children.append(child)
    children.removeAll { hasEnded($0) }
    return outcome
  }

  /// Gives up all that others could wait for, and what would keep a vault open.
  private static func become(_ kind: Kind, _ pipe: CInt, _ kept: [CInt], _ parent: pid_t) {
    linux_end_with_parent()
    guard getppid() == parent else { _exit(1) }
    self.kind = kind
    output = pipe
    signal(SIGPIPE, SIG_IGN)
    do throws(SystemError) {
      let null = try Descriptor(opening: "/dev/null", flags: O_RDWR)
      for number in 0...2 as ClosedRange<CInt> {
        try check("dup2", nil, dup2(null.number, number))
      }
      try changeDirectory(to: try Descriptor(followingLinks: "/"), shown: "/")
      try InheritedDescriptors.closeAll(but: [0, 1, 2, null.number, pipe] + kept)
      comm = Glibc.open("/proc/self/comm", O_WRONLY | O_CLOEXEC)
    } catch {
      _exit(1)
    }
  }

  private static func send(_ bytes: [UInt8]) -> Never {
    _ = write(comm, kind.done.cString, kind.done.bytes.count)
    var rest = bytes[...]
    while let output, !rest.isEmpty {
      let count = rest.withUnsafeBytes { write(output, $0.baseAddress, $0.count) }
      guard count > 0 else { _exit(1) }
      rest = rest.dropFirst(count)
    }
    // The answer does not wait for the end of this process, which may have to wait for others.
    if let output { close(output) }
    _exit(0)
  }

  /// Reads what the child says, up to its answer.
  private static func listen(
    to child: pid_t, _ pipe: borrowing Descriptor, until end: ContinuousClock.Instant
  ) throws(SystemError) -> Outcome {
    var bytes: [UInt8] = []
    var label: FilePath?
    var begun = ContinuousClock.now
    var heard = begun
    var buffer = [UInt8](repeating: 0, count: 1 << 16)
    while true {
      let now = ContinuousClock.now
      // A child that sees the end of its time has a moment to say what it found until then.
      let timeout = min(Self.timeout, now.duration(to: end + .seconds(1)))
      let isHeard = try wait(
        for: [(pipe.number, CInt(POLLIN))], milliseconds: CInt(clamping: timeout.milliseconds))
      guard isHeard[0] else {
        if now + timeout >= end + .seconds(1) {
          return .late(begun.duration(to: .now) > Self.timeout ? label : nil)
        }
        // On a busy machine it may only lack a processor, and one subject may take long. A call that
        // does not end shows no progress.
        let before = Progress(of: child)
        if try wait(for: [(pipe.number, CInt(POLLIN))], milliseconds: 1000)[0] { continue }
        if heard.duration(to: .now) > longTimeout { return .silence(label) }
        let after = Progress(of: child)
        if after.isRunning || after.switches != before.switches { continue }
        return .silence(label)
      }
      let count = try check("read", nil, read(pipe.number, &buffer, buffer.count))
      if count == 0 {
        return bytes.first == UInt8(ascii: "!") ? .answer(Array(bytes.dropFirst())) : .crash
      }
      bytes += buffer[..<count]
      heard = .now
      while bytes.first == UInt8(ascii: "?"), bytes.count > 1, bytes.count >= 2 + Int(bytes[1]) {
        let length = Int(bytes[1])
        if length > 0 {
          let said = FilePath(truncating: bytes[2..<(2 + length)])
          label = said == noLabel ? nil : said
          begun = heard
        }
        bytes.removeFirst(2 + length)
      }
    }
  }

  /// How far a child is, by what the kernel says of it.
  struct Progress {
    /// Whether it runs, or waits for a processor.
    let isRunning: Bool
    /// How often it gave its processor up, and lost it (proc_pid_status(5)).
    let switches: [[UInt8]]

    init(of child: pid_t) {
      let status = (try? kernelFile("/proc/\(child)/status")) ?? []
      isRunning = status.field("State")?.first == UInt8(ascii: "R")
      switches = [
        Array(status.field("voluntary_ctxt_switches") ?? []),
        Array(status.field("nonvoluntary_ctxt_switches") ?? []),
      ]
    }
  }

  private static func hasEnded(_ child: pid_t) -> Bool {
    if case .noneEnded? = try? reapEnded(child) { false } else { true }
  }
}

extension Duration {
  fileprivate var milliseconds: Int64 {
    max(0, components.seconds * 1000 + components.attoseconds / 1_000_000_000_000_000)
  }
}
