import Glibc
import DaemonStoreKernel

/// The process that a session lasts as long as, told from all that had or will have its number.
package struct SessionLeader: Hashable, Sendable, CustomStringConvertible {
  /// In the pid namespace of `/proc`.
  package let process: pid_t
  /// As in ``ProcessStat``.
  package let startTime: UInt64

  /// `1234.56789`, the name of its file.
  package var description: String { "\(process).\(startTime)" }

  /// nil for what is not the form of ``description``.
  package init?(_ name: FilePath) {
    guard let record = SessionRecord(name), record.id == nil else { return nil }
    self = record.leader
  }

  fileprivate init?(_ process: some Collection<UInt8>, _ startTime: some Collection<UInt8>) {
    guard let process: pid_t = process.number(), process > 0,
      let startTime: UInt64 = startTime.number()
    else { return nil }
    self.process = process
    self.startTime = startTime
  }

  /// The process that is open at `descriptor`: pidfd_open(2). Whatever its number is to who opened
  /// it, here it is the one in our `/proc`.
  package init(open descriptor: borrowing Descriptor) throws {
    let number = descriptor.number
    guard let process = try Self.process(open: number), process > 0 else {
      throw Failure(number, "is not open on a process that is in /proc here")
    }
    let stat = ProcessStat(of: process)
    // Its number is nobody else's as long as it has it.
    guard let stat, try Self.process(open: number) == process else {
      throw Failure(number, "is open on a process that has ended")
    }
    self.process = process
    startTime = stat.startTime
  }

  /// Whether it still runs.
  package var isAlive: Bool {
    guard let stat = ProcessStat(of: process) else { return false }
    return stat.startTime == startTime && !stat.hasEnded
  }

  /// From `/proc/self/fdinfo`: 0 for one that is not in this pid namespace, -1 for one that is gone;
  /// nil for what is no process.
  private static func process(open number: CInt) throws(SystemError) -> pid_t? {
    guard let field = try kernelFile("/proc/self/fdinfo/\(number)").field("Pid") else { return nil }
    return field.equals("-1") ? -1 : field.number()
  }

  /// Why there is no leader.
  struct Failure: Error, CustomStringConvertible {
    let description: String
    init(_ number: CInt, _ reason: String) { description = "descriptor \(number) \(reason)" }
  }
}

/// A session: its leader, and an id where the leader may have several.
package struct SessionRecord: Hashable, Sendable, CustomStringConvertible, PathConvertible {
  package let leader: SessionLeader
  /// Sixteen hexadecimal digits; nil for a session that is its leader's only one.
  package let id: String?

  /// `1234.56789.0123456789abcdef`, the name of its file.
  package var description: String { "\(leader)" + (id.map { ".\($0)" } ?? "") }

  package var path: FilePath { "\(description)" }

  /// nil for an id of another form.
  package init?(_ leader: SessionLeader, id: String?) {
    let digits = UInt8(ascii: "0")...UInt8(ascii: "9")
    let letters = UInt8(ascii: "a")...UInt8(ascii: "f")
    guard id.map({ $0.utf8.count == 16 }) ?? true,
      (id ?? "").utf8.allSatisfy({ digits.contains($0) || letters.contains($0) })
    else { return nil }
    self.leader = leader
    self.id = id
  }

  /// nil for what is not the form of ``description``.
  package init?(_ name: FilePath) {
    let parts = name.bytes.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
    guard parts.count == 2 || parts.count == 3, let leader = SessionLeader(parts[0], parts[1])
    else { return nil }
    self.init(leader, id: parts.count == 3 ? shownBytes(parts[2]) : nil)
    guard path == name else { return nil }
  }
}
