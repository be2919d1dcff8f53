import Glibc
import DaemonStoreKernel

/// The mount namespace of process 1, which is the system's, or a container's.
package enum InitNamespace {
  /// Whether this process is in another; nil when nobody can tell.
  package static var isOther: Bool? {
    if let own = try? linkTarget(of: "/proc/self/ns/mnt"),
      let first = try? linkTarget(of: "/proc/1/ns/mnt")
    {
      return own != first
    }
    // Some systems hide pid 1's links even from root, but not its mounts, whose ids are unique.
    guard let own = try? kernelFile("/proc/self/mountinfo"),
      let first = try? kernelFile("/proc/1/mountinfo")
    else { return nil }
    let space = UInt8(ascii: " ")
    return own.prefix { $0 != space } != first.prefix { $0 != space }
  }

  /// Enters it, as `/proc` shows it.
  package static func enter() throws(SystemError) {
    guard isOther != false else { return }
    let path: FilePath = "/proc/1/ns/mnt"
    let namespace = Descriptor(
      owning: try check("open", path, open(path.cString, O_RDONLY | O_CLOEXEC)))
    try NamespaceKinds.mount.enter(namespace, shown: path)
  }

  /// Says so when this is another, and what follows from it. Returns whether it is.
  @discardableResult
  package static func warn(_ who: String, _ consequence: String) -> Bool {
    guard isOther == true else { return false }
    Program.complain(
      "\(who): warning: this is not the mount namespace of pid 1, so \(consequence)")
    return true
  }
}
