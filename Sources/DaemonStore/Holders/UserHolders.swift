import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel

extension UserSubtree {
  /// All holders of the user's data now: processes, by the files themselves, and loop devices.
  package func holders() throws -> [Holder] { try holders(nil) }

  /// The same, but for the directories that strangers keep, which `pins` takes.
  func holders(_ pins: DirectoryPins?, strictly: Bool = false) throws -> [Holder] {
    var search = search(pins, strictly: strictly)
    return try search.processes() + loopDevices()
  }

  /// The processes that use files through the mounts that were found, and not through others.
  func holdersThroughMounts() throws -> [Holder] {
    var search = HolderSearch(for: containsThroughMount, keeping: descriptors, until: deadline)
    return try search.processes()
  }

  /// The loop devices that are backed by a file of the user's. The kernel knows the file; the path
  /// that it shows is that of the process that set the device up, and may lead elsewhere by now.
  func loopDevices() -> [Holder] {
    let lost = Unknowns()
    do {
      let found = try Inspection.run(.files, keeping: descriptors, until: deadline, lost) {
        lookAtLoopDevices()
      }
      return (found ?? []) + lost.holders
    } catch {
      return [Holder(keeper: nil, hold: .uninspected("loop devices: \(error)"))] + lost.holders
    }
  }

  private func lookAtLoopDevices() -> [Holder] {
    var holders: [Holder] = []
    do throws(SystemError) {
      for name in try Directory(opening: "/sys/block").names()
      where name.dropping(prefix: "loop") != nil && Inspection.begins(at: name) {
        do throws(SystemError) {
          guard try isLoop(name) else { continue }
          holders.append(Holder(keeper: nil, hold: .loopDevice("/dev/\(name)")))
        } catch {
          holders.append(Holder(keeper: nil, hold: .uninspected("/dev/\(name): \(error)")))
        }
      }
    } catch {
      guard error.code != ENOENT else { return holders }
      holders.append(Holder(keeper: nil, hold: .uninspected("loop devices: \(error)")))
    }
    return holders
  }

  private func isLoop(_ name: FilePath) throws(SystemError) -> Bool {
    let text: [UInt8]
    do {
      text = try kernelFile("/sys/block/\(name)/loop/backing_file")
    } catch  where error.code == ENOENT {
      return false  // it has no file
    }
    guard let path = FilePath(text.dropLast()) else { return false }
    let backing = try backing(of: name)
    if let backing {
      guard isOnDevice(backing.device) else { return false }
      if isWholeDevice(backing.device) { return true }
    }
    let relative = FilePath(truncating: path.bytes.drop { $0 == UInt8(ascii: "/") })
    let root = try Directory(opening: "/")
    if let file = try root.status(behind: relative), backing == nil || file.identity == backing {
      return contains(file, relative, in: root)
    }
    if isNamed(in: path) { return true }
    // The path leads elsewhere: that of a mount that was detached begins at its root.
    return backing.map(lists) ?? false
  }

  /// The file behind a loop device; nil where the device itself is out of reach, as in a container,
  /// or has no file any more.
  private func backing(of name: FilePath) throws(SystemError) -> FileIdentity? {
    var backing: UInt64 = 0
    var inode: UInt64 = 0
    do {
      let device = try Descriptor(opening: "/dev/\(name)", flags: O_RDONLY | O_NONBLOCK)
      try check(
        "LOOP_GET_STATUS64", "/dev/\(name)",
        linux_loop_backing(device.number, &backing, &inode))
      return FileIdentity(device: backing, inode: inode)
    } catch  where [ENOENT, ENXIO, ENODEV, EPERM, EACCES].contains(error.code) {
      return nil
    }
  }
}
