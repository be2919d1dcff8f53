import CLinux
import Glibc
import Kernel
import MountTable

extension UserSubtree {
  /// Everybody who uses the user's data now: processes, by the files themselves, and loop devices.
  public func holders() throws -> [Holder] {
    var search = HolderSearch(
      for: contains, isNamed: isNamed,
      suspicion: HolderSearch.Suspicion(
        isSuspect: isSuspect, isUsers: isUsers, isDetached: isDetachedNow))
    return try search.processes() + loopDevices()
  }

  /// The processes that use files through the mounts that were found, and not through others.
  func holdersThroughMounts() throws -> [Holder] {
    var search = HolderSearch(for: containsThroughMount)
    return try search.processes()
  }

  /// The loop devices that are backed by a file of the user's. The kernel knows the file; the path
  /// that it shows is the one of whoever set the device up, and may lead elsewhere by now.
  func loopDevices() -> [Holder] {
    guard let blocks = try? Directory(opening: "/sys/block").names(),
      let root = try? Directory(opening: "/")
    else { return [] }
    var holders: [Holder] = []
    for name in blocks where name.utf8.starts(with: "loop".utf8) {
      guard let text = try? kernelFile("/sys/block/\(name)/loop/backing_file"),
        let device = try? Descriptor(opening: "/dev/\(name)", flags: O_RDONLY | O_NONBLOCK)
      else { continue }
      var backing: UInt64 = 0
      var inode: UInt64 = 0
      guard linux_loop_backing(device.number, &backing, &inode) == 0, isOnDevice(backing) else {
        continue
      }
      let path = String(decoding: text.dropLast(), as: UTF8.self)
      let relative = String(path.drop { $0 == "/" })
      guard
        isWholeDevice(backing) || isNamed(in: path)
          || root.status(behind: relative).map({ contains($0, relative, in: root) }) == true
      else { continue }
      holders.append(Holder(keeper: nil, hold: .loopDevice("/dev/\(name)")))
    }
    return holders
  }
}
