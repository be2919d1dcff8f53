import Glibc
import DaemonStoreKernel

/// What a search could not inspect, and why. A search that has met any of it has not proved that
/// nothing is left.
final class Unknowns {
  /// So many are named, and the others counted.
  private static let limit = 16
  private var named: [Holder] = []
  private var isNamed: Set<Holder> = []
  private var others = 0

  var isEmpty: Bool { named.isEmpty }

  /// An entry each, for a report.
  var holders: [Holder] {
    guard others > 0 else { return named }
    return named + [Holder(keeper: nil, hold: .uninspected("\(others) more"))]
  }

  func add(_ reason: String) {
    let holder = Holder(keeper: nil, hold: .uninspected(reason))
    guard isNamed.insert(holder).inserted else { return }
    if named.count < Self.limit { named.append(holder) } else { others += 1 }
  }

  /// The same as text, for another one of these.
  var reasons: [String] {
    holders.compactMap { if case .uninspected(let reason) = $0.hold { reason } else { nil } }
  }

  func add(_ error: any Error) { add("\(error)") }

  /// An error about a process or a thread, unless that is gone: the kernel says `EACCES` of the links
  /// of one that has just ended, too.
  ///
  /// - Parameter task: its directory: `/proc/12`, `/proc/12/task/13`.
  func add(_ error: SystemError, about task: FilePath) {
    if !Self.isEnd(error, of: task) { add(error) }
  }

  /// Whether an error says that a process or thread is gone. Process 1 is taken at its word when it
  /// is closed: some systems protect it from root.
  static func isEnd(_ error: SystemError, of task: FilePath) -> Bool {
    switch error.code {
    case ENOENT, ESRCH: return true
    // The path of a file that is deeper than a path can be. Any user can have one open: it says nothing
    // of a vault, whose files are known by what they are.
    case ENAMETOOLONG: return error.operation == "readlink"
    case EACCES, EPERM:
      if task.isEqualOrBelow("/proc/1") { return true }
      return access(task.cString, F_OK) != 0 && errno == ENOENT
    default: return false
    }
  }
}
