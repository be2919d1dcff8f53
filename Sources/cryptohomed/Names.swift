import DaemonStoreBus
import Cryptohome
import DaemonStore
import DaemonStoreKernel
import DaemonStoreProgram

/// The names of those who are mounted. A directory service may take its time for them: a process asks, and
/// this service does not wait.
final class Names {
  private var known: [ObfuscatedUsername: String] = [:]
  /// Whom the process that runs asks for.
  private var asked: Set<ObfuscatedUsername>?
  private var waiting: [Waiting] = []

  private struct Waiting {
    let users: [ObfuscatedUsername]
    let body: ([String]) -> Void
  }

  /// How many calls wait for names.
  private static let limit = 64
  private static let timeout = Duration.seconds(10)

  /// Gives the names of these users, in their order: the hash for one whose name is not found in time.
  ///
  /// - Throws: when too many calls wait.
  func find(
    _ users: [ObfuscatedUsername], for call: MethodCall, _ service: Service,
    _ body: @escaping ([String]) -> Void
  ) throws {
    if users.allSatisfy({ known[$0] != nil }) { return body(shown(users)) }
    guard waiting.count < Self.limit else {
      throw BusError.limitsExceeded("too many calls are waiting; try again")
    }
    call.release()
    waiting.append(Waiting(users: users, body: body))
    learn(service)
  }

  func forget(_ user: ObfuscatedUsername) { known[user] = nil }

  /// Asks for the names that are not known.
  func learn(_ service: Service) {
    let missing = Set(service.tracker.users + waiting.flatMap(\.users))
      .filter { known[$0] == nil }
    guard asked == nil, !missing.isEmpty, service.link != nil else { return }
    asked = missing
    do {
      try service.actions.start(
        ["pam", "names", "--"] + missing.sorted().map(\.description), hearsOutput: true, for: nil,
        atMost: Self.timeout, in: service.loop
      ) { [unowned self, unowned service] end, lines in
        if end == .exited(0) { note(lines) }
        answer(service)
      }
    } catch {
      Program.complain("cryptohomed: the names of users are not known: \(error)")
      answer(service)
    }
  }

  /// - Parameter lines: each a hash, a space and a name.
  private func note(_ lines: [String]) {
    for line in lines {
      let fields = line.utf8.split(separator: UInt8(ascii: " "), maxSplits: 1)
      guard fields.count == 2, let user = ObfuscatedUsername(String(Substring(fields[0])))
      else { continue }
      known[user] = String(Substring(fields[1]))
    }
  }

  /// Answers those who wait for no other than those that were asked for.
  private func answer(_ service: Service) {
    let done = asked ?? []
    asked = nil
    let isOver = { [known] (entry: Waiting) in
      entry.users.allSatisfy { known[$0] != nil || done.contains($0) }
    }
    let over = waiting.filter(isOver)
    waiting.removeAll(where: isOver)
    for entry in over { entry.body(shown(entry.users)) }
    if !waiting.isEmpty { learn(service) }
  }

  private func shown(_ users: [ObfuscatedUsername]) -> [String] {
    users.map { known[$0] ?? $0.description }
  }
}
