/// What a command line asks for.
public struct Command: Equatable, Sendable {
  public enum Action: Equatable, Sendable {
    case run, help, systemCalls, version
    case explain(asJSON: Bool)
    /// The text of a configuration file, and where it goes.
    case writeConfiguration(String, to: String)
  }

  public var action = Action.run
  public var configuration = JailConfiguration()
  /// Habits that are kept, and that somebody should know about.
  public var warnings: [String] = []
  /// Whether what is only warned about, because it is usually a mistake, is an error.
  public var isStrict = false
}
