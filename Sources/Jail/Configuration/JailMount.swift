import DaemonStoreKernel

/// One `-b` or `-k`, or one that a profile brings.
public struct JailMount: Equatable, Sendable {
  public let source: FilePath
  /// Absolute, as the program sees it.
  public let target: FilePath
  public let kind: Kind
  /// Whether a missing source is skipped with a warning.
  public var isOptional = false

  public enum Kind: Equatable, Sendable {
    /// `-b`: never recursive, and read-only unless it says otherwise, whatever the source is.
    case bind(writable: Bool)
    /// `-k`: as mount(2) takes them.
    case filesystem(type: RawArgument, flags: MountFlags, data: RawArgument)
  }

  public init(source: FilePath, target: FilePath, kind: Kind, isOptional: Bool = false) {
    self.source = source
    self.target = target
    self.kind = kind
    self.isOptional = isOptional
  }

  /// Whether something that exists is shown at the target, not a new file system or a change.
  public var isBind: Bool {
    switch kind {
    case .bind: true
    case .filesystem(_, let flags, _): flags.contains(.bind) && !flags.contains(.remount)
    }
  }

  /// Whether the mounts below the source come along.
  public var isRecursive: Bool {
    if case .filesystem(_, let flags, _) = kind { flags.contains(.recursive) } else { false }
  }

  /// Whether it changes mounts that are there, and adds none.
  public var isChange: Bool {
    guard case .filesystem(_, let flags, _) = kind else { return false }
    return flags.contains(.remount)
      || (!flags.contains(.bind) && !flags.isDisjoint(with: .propagation))
  }
}
