import DaemonStoreKernel

/// One mount of a jail: mount(2), or a bind of what the host has.
public struct JailMount: Equatable, Sendable {
  /// What is bound, looked up outside the new root through symbolic links; else as mount(2) takes
  /// it.
  public let source: FilePath
  /// Absolute, as the program sees it: looked up inside the new root, and made where it is missing.
  public let target: FilePath
  /// What kind of mount it is, with its flags.
  public let kind: Kind
  /// Whether a missing source is skipped with a warning.
  public var isOptional = false

  /// A plain bind, or any call of mount(2).
  public enum Kind: Equatable, Sendable {
    /// `-b`: never recursive, and read-only unless it says otherwise, whatever the source is.
    case bind(writable: Bool)
    /// `-k`: as mount(2) takes them.
    case filesystem(type: RawArgument, flags: MountFlags, data: RawArgument)
  }

  /// Makes a mount, and looks at nothing.
  public init(source: FilePath, target: FilePath, kind: Kind, isOptional: Bool = false) {
    self.source = source
    self.target = target
    self.kind = kind
    self.isOptional = isOptional
  }

  /// Whether something that exists is shown at the target, not a new file system or a change.
  package var isBind: Bool {
    switch kind {
    case .bind: true
    case .filesystem(_, let flags, _): flags.contains(.bind) && !flags.contains(.remount)
    }
  }

  /// Whether the mounts below the source come along.
  package var isRecursive: Bool {
    if case .filesystem(_, let flags, _) = kind { flags.contains(.recursive) } else { false }
  }

  /// Whether it changes mounts that are there, and adds none.
  package var isChange: Bool {
    guard case .filesystem(_, let flags, _) = kind else { return false }
    return flags.contains(.remount)
      || (!flags.contains(.bind) && !flags.isDisjoint(with: .propagation))
  }
}
