import Glibc
import Synchronization
import Testing

/// For a suite whose cases change mounts. As a plain user it is skipped, with the reason; under
/// `CI=true` nothing is skipped, so there it fails. No more of its cases run at once than the
/// machine has processors: each is a few dozen processes.
package struct NeedsRoot: SuiteTrait, TestTrait, TestScoping {
  package var isRecursive: Bool { true }

  package func prepare(for test: Test) async throws {
    let isHere = geteuid() == 0 || environment("CI") == "true"
    try await ConditionTrait.enabled(if: isHere, "needs root, for mounts").prepare(for: test)
  }

  package func provideScope(
    for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
  ) async throws {
    // Each case enters by itself; a suite, or a test with arguments, is only what they are in.
    guard testCase != nil else { return try await function() }
    await Turnstile.shared.enter()
    let start = ContinuousClock.now
    let outcome: Result<Void, any Error>
    do {
      outcome = .success(try await function())
    } catch {
      outcome = .failure(error)
    }
    TestTimes.add(test, .now - start)
    await Turnstile.shared.leave()
    try outcome.get()
  }
}

/// What the tests have taken, each from its turn on. At the end of the process the slowest are printed.
private enum TestTimes {
  private static let times = Mutex<[String: Duration]>([:])

  static func add(_ test: Test, _ time: Duration) {
    let isFirst = times.withLock { times in
      let name = "\(test.id)".split(separator: "/").dropLast().joined(separator: "/")
      times[name, default: .zero] += time
      return times.count == 1
    }
    if isFirst { atexit { TestTimes.report() } }
  }

  private static func report() {
    let times = times.withLock { $0 }.sorted { $0.value > $1.value }
    print("The slowest of \(times.count) tests that need root, with all their arguments:")
    for (name, time) in times.prefix(15) {
      let tenths = Int(time / .milliseconds(100))
      print("  \(tenths / 10).\(tenths % 10) s  \(name)")
    }
  }
}

extension Trait where Self == NeedsRoot {
  package static var needsRoot: Self { NeedsRoot() }
}

/// Lets as many in at once as there are processors.
private actor Turnstile {
  static let shared = Turnstile()

  private var free = max(2, sysconf(CInt(_SC_NPROCESSORS_ONLN)))
  private var waiting: [CheckedContinuation<Void, Never>] = []

  func enter() async {
    if free > 0 {
      free -= 1
    } else {
      await withCheckedContinuation { waiting.append($0) }
    }
  }

  func leave() {
    if waiting.isEmpty {
      free += 1
    } else {
      waiting.removeFirst().resume()
    }
  }
}

/// A variable of this process's environment.
package func environment(_ name: String) -> String? {
  getenv(name).map { String(cString: $0) }
}
