import DaemonStoreKernel

/// What a command line asks for.
package struct Command: Equatable, Sendable {
  package enum Action: Equatable, Sendable {
    case run, help, systemCalls, version
    case explain(asJSON: Bool)
    /// The text of a configuration file, and where it goes.
    case writeConfiguration([UInt8], to: FilePath)
  }

  package var action = Action.run
  package var configuration = JailConfiguration()
  /// Habits that are kept, and that somebody should know about.
  package var warnings: [String] = []
}
