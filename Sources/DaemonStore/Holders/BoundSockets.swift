import Glibc
import DaemonStoreKernel

/// The UNIX sockets that have a name. One that is bound to a path keeps the mount busy that this was
/// on, and the descriptor says nothing about it.
struct BoundSockets {
  private var paths: [UInt64: FilePath] = [:]
  private var networks: Set<FileIdentity> = []
  /// Of the file system that all sockets are in.
  private let device: UInt64?

  private let unknowns: Unknowns

  init(_ unknowns: Unknowns) {
    self.unknowns = unknowns
    do throws(SystemError) {
      let socket = Descriptor(
        owning: try check("socket", nil, socket(AF_UNIX, CInt(SOCK_STREAM.rawValue), 0)))
      device = try socket.status().identity.device
    } catch {
      unknowns.add(error)
      device = nil
    }
  }

  func path(of file: FileIdentity) -> FilePath? {
    file.device == device ? paths[file.inode] : nil
  }

  /// Reads those of the network namespace that a process is in, unless that was read before.
  mutating func read(from process: borrowing Directory) {
    do throws(SystemError) {
      guard let network = try process.status(behind: "ns/net")?.identity,
        networks.insert(network).inserted
      else { return }
      read(try kernelFile(process.path(of: "net/unix")))
    } catch {
      // `EINVAL`: it is exiting, and in no namespace any more.
      if error.code != EINVAL { unknowns.add(error, about: process.path) }
    }
  }

  private mutating func read(_ text: [UInt8]) {
    // Num RefCount Protocol Flags Type St Inode Path: proc_pid_net(5).
    for line in text.split(separator: UInt8(ascii: "\n")).dropFirst() {
      let fields = line.split(separator: UInt8(ascii: " "), maxSplits: 7)
      guard fields.count == 8,
        let inode: UInt64 = fields[6].number(), let path = FilePath(fields[7])
      else { continue }
      paths[inode] = path
    }
  }
}
