import DaemonStoreKernel

extension MountTable {
  /// The mounts that this thread sees, with an error of this module.
  static func ofThisThread() throws(JailError) -> MountTable {
    do throws(MountTableError) {
      return try current()
    } catch {
      throw JailError("read the mount table: \(error)")
    }
  }

  /// - Parameter text: of this process's mountinfo.
  static func ofThisProcess(_ text: [UInt8]) throws(JailError) -> MountTable {
    do throws(MountTableError) {
      return try MountTable(parsing: text, from: "/proc/self/mountinfo")
    } catch {
      throw JailError("read the mount table: \(error)")
    }
  }
}
