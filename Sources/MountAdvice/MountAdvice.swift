import DaemonStoreKernel
import Glibc

/// What libmount knows and the kernel's mount table does not have: fstab(5), and the device behind a
/// name such as `/dev/root`. For refusals and advice; nothing is mounted or unmounted by its word.
///
/// libmount.so.1 is opened when it is asked for, so that no other command loads it.
package struct MountAdvice: ~Copyable {
  /// A line of fstab(5).
  package struct Entry: Equatable, Sendable {
    /// `/dev/sda2`, `UUID=…`, `LABEL=…`.
    package let source: FilePath
    package let fileSystem: FilePath
  }

  private let library: UnsafeMutableRawPointer
  private let functions: Functions

  /// nil where there is no libmount, or none with these functions.
  package init?() {
    guard let library = dlopen("libmount.so.1", RTLD_NOW | RTLD_LOCAL) else { return nil }
    guard let functions = Functions(library) else {
      dlclose(library)
      return nil
    }
    self.library = library
    self.functions = functions
  }

  deinit { dlclose(library) }

  /// The last line for `target` in a file of the form of fstab(5); nil when there is none. A line that
  /// libmount cannot read is passed over, as mount(8) does.
  ///
  /// - Throws: when the file cannot be read; `ENOENT` too.
  package func entry(
    for target: FilePath, in fstab: FilePath
  ) throws(SystemError) -> Entry? {
    try find(target, in: fstab) { line in
      Entry(
        source: Self.path(functions.source(line)), fileSystem: Self.path(functions.type(line)))
    }
  }

  /// The device that a mount is of, by a name that leads to it; nil where libmount knows none.
  package func device(of mount: Mount) throws(SystemError) -> FilePath? {
    let device = try find(mount.target, in: "/proc/self/mountinfo") { line in
      Self.path(functions.sourcePath(line))
    }
    return device.flatMap { $0.isEmpty ? nil : $0 }
  }

  private func find<Value>(
    _ target: FilePath, in file: FilePath, _ read: (OpaquePointer) -> Value
  ) throws(SystemError) -> Value? {
    guard let table = functions.newTable() else {
      throw SystemError(operation: "mnt_new_table", path: file, code: ENOMEM)
    }
    defer { functions.freeTable(table) }
    let status = functions.parse(table, file.cString)
    guard status >= 0 else { throw SystemError(operation: "read", path: file, code: -status) }
    // MNT_ITER_BACKWARD: the line that counts is the last one.
    return functions.findTarget(table, target.cString, 1).map(read)
  }

  private static func path(_ text: UnsafePointer<CChar>?) -> FilePath {
    text.map { FilePath(cString: $0) } ?? ""
  }
}

/// Of libmount.h; all are there since util-linux 2.22.
private struct Functions {
  typealias Text = @convention(c) (OpaquePointer) -> UnsafePointer<CChar>?

  let newTable: @convention(c) () -> OpaquePointer?
  let freeTable: @convention(c) (OpaquePointer) -> Void
  let parse: @convention(c) (OpaquePointer, UnsafePointer<CChar>) -> CInt
  let findTarget: @convention(c) (OpaquePointer, UnsafePointer<CChar>, CInt) -> OpaquePointer?
  let source: Text
  let sourcePath: Text
  let type: Text

  init?(_ library: UnsafeMutableRawPointer) {
    func function<Function>(_ name: String, _: Function.Type = Function.self) -> Function? {
      dlsym(library, name).map { unsafeBitCast($0, to: Function.self) }
    }
    guard
      let newTable = function("mnt_new_table", (@convention(c) () -> OpaquePointer?).self),
      let freeTable = function(
        "mnt_unref_table", (@convention(c) (OpaquePointer) -> Void).self),
      let parse = function(
        "mnt_table_parse_file",
        (@convention(c) (OpaquePointer, UnsafePointer<CChar>) -> CInt).self),
      let findTarget = function(
        "mnt_table_find_target",
        (@convention(c) (OpaquePointer, UnsafePointer<CChar>, CInt) -> OpaquePointer?).self),
      let source = function("mnt_fs_get_source", Text.self),
      let sourcePath = function("mnt_fs_get_srcpath", Text.self),
      let type = function("mnt_fs_get_fstype", Text.self)
    else { return nil }
    self.newTable = newTable
    self.freeTable = freeTable
    self.parse = parse
    self.findTarget = findTarget
    self.source = source
    self.sourcePath = sourcePath
    self.type = type
  }
}
