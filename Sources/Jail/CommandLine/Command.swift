import DaemonStoreKernel

/// What a command line asks for.
public struct Command: Equatable, Sendable {
  public enum Action: Equatable, Sendable {
    case run, help, systemCalls, version
    case explain(asJSON: Bool)
    /// The text of a configuration file, and where it goes.
    case writeConfiguration([UInt8], to: FilePath)
  }

  public var action = Action.run
  public var configuration = JailConfiguration()
  /// Habits that are kept, and that somebody should know about.
  public var warnings: [String] = []
}
