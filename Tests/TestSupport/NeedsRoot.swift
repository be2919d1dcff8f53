import Glibc
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
    await Turnstile.shared.enter()
    do {
      try await function()
    } catch {
      await Turnstile.shared.leave()
      throw error
    }
    await Turnstile.shared.leave()
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
