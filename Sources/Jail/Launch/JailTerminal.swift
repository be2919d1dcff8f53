import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel

/// The terminal of `--pty`, in the process that becomes the jail: its own devpts where the jail has
/// its own mounts, else one of the host's.
final class JailTerminal {
  private var devices: SharedDescriptor?
  private let controller: SharedDescriptor
  private let terminal: SharedDescriptor

  /// - Parameter owner: who the program will be.
  init(ownDevices: Bool, owner: UInt32?) throws(JailError) {
    (devices, controller, terminal) = try step("--pty") { () throws(SystemError) in
      var devices: SharedDescriptor?
      let sides: (controller: SharedDescriptor, terminal: SharedDescriptor)
      if ownDevices {
        let mount = try DetachedMount(
          newFilesystem: "devpts", source: "devpts",
          options: [("mode", "620"), ("ptmxmode", "666")],
          attributes: [.noSetID, .noExecution])
        sides = try Self.sides(of: try PseudoTerminal(in: mount.root), owner)
        devices = SharedDescriptor(mount.intoDescriptor())
      } else {
        sides = try Self.sides(of: try PseudoTerminal(), owner)
      }
      return (devices, sides.controller, sides.terminal)
    }
  }

  private static func sides(
    of pseudoterminal: consuming PseudoTerminal, _ owner: UInt32?
  ) throws(SystemError) -> (SharedDescriptor, SharedDescriptor) {
    if let caller = (CInt(0)...2).first(where: { isatty($0) == 1 }) {
      try pseudoterminal.resemble(caller)
    }
    if let owner {
      try check("fchown", "terminal", fchown(pseudoterminal.terminal.number, owner, gid_t.max))
    }
    let sides = pseudoterminal.release()
    return (
      SharedDescriptor(Descriptor(owning: sides.controller)),
      SharedDescriptor(Descriptor(owning: sides.terminal))
    )
  }

  /// Shows the devpts on `/dev/pts`, where the root has such a directory: the program has its
  /// terminal without it, and only its name is missing.
  func place(in newRoot: FilePath?, builder: JailBuilder) throws(JailError) {
    guard let devices else { return }
    self.devices = nil
    try step("--pty: new /dev/pts") { () throws(SystemError) in
      let place: Destination
      do throws(SystemError) {
        place = try Destination("/dev/pts", in: try builder.openRoot(), newRoot: newRoot)
      } catch {
        guard error.code == ENOENT else { throw error }
        return
      }
      try moveMount(devices.descriptor, on: place.descriptor, shown: place.shown)
    }
  }

  var descriptors: [CInt] { [controller.descriptor.number, terminal.descriptor.number] }

  /// Gives the launcher its side, and makes the other one this process's terminal.
  func take(sending socket: SharedDescriptor) throws(JailError) {
    try step("--pty") { () throws(SystemError) in
      try ReportSockets.send(
        [UInt8(ascii: "P")], with: controller.descriptor.number, to: socket.descriptor.number)
      try takeTerminal(terminal.descriptor)
    }
  }
}
