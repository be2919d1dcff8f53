import Glibc
import Kernel

/// The process that a session lasts as long as, told from all that had or will have its number.
public struct SessionLeader: Hashable, Sendable, CustomStringConvertible {
  /// In the pid namespace of `/proc`.
  public let process: pid_t
  /// As in ``ProcessStat``.
  public let startTime: UInt64

  /// `1234.56789`, the name of its file.
  public var description: String { "\(process).\(startTime)" }

  /// nil for what is not the form of ``description``.
  public init?(_ text: String) {
    let numbers = text.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
    guard numbers.count == 2, let process: pid_t = numbers[0].number(), process > 0,
      let startTime: UInt64 = numbers[1].number()
    else { return nil }
    self.process = process
    self.startTime = startTime
    guard description.utf8.elementsEqual(text.utf8) else { return nil }
  }

  /// The process that is open at `descriptor`: pidfd_open(2). Whatever its number is to who opened
  /// it, here it is the one in our `/proc`.
  public init(open descriptor: borrowing Descriptor) throws {
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
  public var isAlive: Bool {
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
