import Glibc
import DaemonStoreKernel

/// Tests name their own places by text, whose UTF-8 is what the kernel gets. Names from elsewhere are
/// a `FilePath` in tests, too.
extension FilePath {
  package init(_ text: String) { self.init(truncating: text.utf8) }
}

@discardableResult
package func check<Value: FixedWidthInteger>(
  _ operation: String, _ path: String, _ call: @autoclosure () -> Value
) throws(SystemError) -> Value {
  try DaemonStoreKernel.check(operation, FilePath(path), call())
}

extension SystemError {
  package init(operation: String, path: String, code: CInt) {
    self.init(operation: operation, path: FilePath(path), code: code)
  }
}

extension Descriptor {
  package init(opening path: String, flags: CInt, mode: mode_t = 0) throws(SystemError) {
    try self.init(opening: FilePath(path), flags: flags, mode: mode)
  }
}

extension Directory {
  package init(opening path: String) throws(SystemError) {
    try self.init(opening: FilePath(path))
  }
}
