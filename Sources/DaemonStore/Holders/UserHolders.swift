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
    guard let blocks = try? Directory(opening: "/sys/block").names() else { return [] }
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
      let path = FilePath(text.dropLast()) ?? ""
      guard isWholeDevice(backing) || isNamed(in: path) || isPart(path) else { continue }
      holders.append(Holder(keeper: nil, hold: .loopDevice("/dev/\(name)")))
    }
    return holders
  }

  /// Whether a path of this namespace leads to a file of it.
  private func isPart(_ path: FilePath) -> Bool {
    guard let file = try? Descriptor(opening: path, flags: LINUX_O_PATH),
      let own = try? Directory(opening: "/proc/\(getpid())/fd")
    else { return false }
    let link = "\(file.number)"
    return own.status(behind: link).map { contains($0, link, in: own) } == true
  }
}
