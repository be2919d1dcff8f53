import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel

/// What a UNIX socket is bound to: it keeps the mount busy that this was on, and the descriptor says
/// nothing about it. The path that it was bound by is no proof: any user may choose that.
struct BoundSockets {
  /// Whether a file of this device can be one of those that are looked for: nil for perhaps.
  let mayBeOn: (_ device: UInt64) -> Bool?
  let unknowns: Unknowns

  enum Place: ~Copyable {
    /// Nothing, or nothing of interest.
    case elsewhere
    /// This file is open.
    case file(Descriptor)
    /// A file on one of the devices, and no more is known than the path that it was bound by.
    case somewhere(FilePath)
  }

  /// What a copy of a socket is bound to.
  ///
  /// - Parameter task: the thread that has the socket.
  func place(
    of socket: borrowing Descriptor, _ identity: FileIdentity, in task: borrowing Directory
  ) -> Place {
    do throws(SystemError) {
      // As the kernel has it, whatever path it was bound by, and from where.
      let bound = linux_socket_file(socket.number)
      if bound >= 0 { return .file(Descriptor(owning: bound)) }
      switch errno {
      case ENOENT, EINVAL, EOPNOTSUPP, ENOTTY: return .elsewhere
      case EPERM: break  // without CAP_NET_ADMIN
      case let code: throw SystemError(operation: "SIOCUNIXFILE", path: task.path, code: code)
      }
      guard let path = try path(of: socket) else { return .elsewhere }
      guard let node = try node(of: identity, in: task) else { return .somewhere(path) }
      switch mayBeOn(node.device) {
      case false?: return .elsewhere
      default: break
      }
      guard path.isAbsolute, let file = try open(path, in: task) else { return .somewhere(path) }
      let status = try file.status(shown: path)
      guard status.mode & S_IFMT == S_IFSOCK,
        UInt32(truncatingIfNeeded: status.identity.inode) == node.inode
      else { return .somewhere(path) }
      return .file(file)
    } catch {
      unknowns.add(error, about: task.path)
      return .elsewhere
    }
  }

  private func path(of socket: borrowing Descriptor) throws(SystemError) -> FilePath? {
    var text = [CChar](repeating: 0, count: 128)
    let count = Int(
      try check("getsockname", nil, linux_socket_path(socket.number, &text, text.count)))
    return count > 0 ? FilePath(text[..<count].map { UInt8(bitPattern: $0) }) : nil
  }

  /// The device and inode, which sock_diag(7) gives without a capability; nil where the socket is of
  /// another network namespace than the thread, or that cannot be entered.
  private func node(
    of socket: FileIdentity, in task: borrowing Directory
  ) throws(SystemError) -> (device: UInt64, inode: UInt32)? {
    // The namespace of this process changes by that.
    guard Inspection.isHere, let number = UInt32(exactly: socket.inode) else { return nil }
    let network: Descriptor
    do {
      network = try Descriptor(followingLinks: task.path(of: "ns/net"), flags: O_RDONLY)
    } catch  where [ENOENT, ESRCH, EINVAL, EACCES, EPERM].contains(error.code) {
      return nil
    }
    var device: UInt64 = 0
    var inode: UInt32 = 0
    guard linux_socket_place(network.number, number, &device, &inode) == 0 else { return nil }
    return (device, inode)
  }

  /// What a path leads to from the root of a thread; nil when there is a symbolic link in it, or nothing
  /// that can be opened.
  private func open(
    _ path: FilePath, in task: borrowing Directory
  ) throws(SystemError) -> Descriptor? {
    let root = try Descriptor(
      following: "root", in: task.descriptor, shown: task.path(of: "root"))
    var how = open_how()
    how.flags = UInt64(LINUX_O_PATH | O_NOFOLLOW | O_CLOEXEC)
    how.resolve = UInt64(RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS)
    let file = linux_openat2(root.number, path.cString, &how)
    return file < 0 ? nil : Descriptor(owning: file)
  }
}

extension HolderSearch {
  /// What a UNIX socket among the descriptors of a thread is bound to, if that is one of the files.
  ///
  /// - Parameter mayHide: whether what cannot be told counts against the process.
  func boundFile(
    of name: FilePath, _ socket: FileIdentity, in task: borrowing Directory, _ owner: Task,
    mayHide: Bool
  ) -> FilePath? {
    guard let number: CInt = name.bytes.number() else { return nil }
    do throws(SystemError) {
      let copy = linux_get_descriptor(owner.process, owner.thread, number)
      guard copy >= 0 else {
        let code = errno
        let isThere = try task.status(behind: "fd/\(name)")?.identity == socket
        if isThere { SentDescriptors.note(code, owner.process, unknowns) }
        return nil
      }
      let descriptor = Descriptor(owning: copy)
      guard try descriptor.status().identity == socket else {
        let isThere = try task.status(behind: "fd/\(name)")?.identity == socket
        if isThere { unknowns.add("socket \(name) of \(task.path)") }
        return nil
      }
      switch sockets.place(of: descriptor, socket, in: task) {
      case .elsewhere: return nil
      case .file(let file):
        let own = try Directory(opening: "/proc/\(getpid())/fd")
        return isHeld("\(file.number)", own) ? shownPath(of: "\(file.number)", own) : nil
      case .somewhere(let path):
        if mayHide {
          unknowns.add("socket of \(ProcessName(owner.process)) that was bound to \(path)")
        }
        return nil
      }
    } catch {
      unknowns.add(error, about: task.path)
      return nil
    }
  }

  /// What a socket of this process's own is bound to, if that is one of the files.
  func boundFile(of socket: FilePath, in own: borrowing Directory) -> FilePath? {
    guard let number: CInt = socket.bytes.number() else { return nil }
    let bound = linux_socket_file(number)
    guard bound >= 0 else { return nil }
    let file = Descriptor(owning: bound)
    return isHeld("\(file.number)", own) ? shownPath(of: "\(file.number)", own) : nil
  }
}
