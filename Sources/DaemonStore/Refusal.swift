import DaemonStoreKernel

/// Something that is there but is not what it must be: refused, and never changed or overwritten.
/// Beside ``SystemError``, ``MountTableError`` and `StoreClientError` the only error of this module;
/// each of them prints as one line.
package struct Refusal: Error, Equatable, CustomStringConvertible, Sendable {
  package let path: FilePath
  /// Goes on after the path, and ends with the way out: `is a file, not a directory; remove it`.
  package let reason: String
  /// The command that is the way out, where there is one.
  package let fix: String?

  package init(path: FilePath, reason: String, fix: String? = nil) {
    self.path = path
    self.reason = reason
    self.fix = fix
  }

  package var description: String { "\(path): \(reason)" }
}
