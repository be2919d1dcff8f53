import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel

/// What inotify(7) and fanotify(7) watch: each watch keeps its file in the kernel, and no link of
/// `/proc` leads there. The kernel names the files by their handles (proc_pid_fdinfo(5)).
struct Watches {
  /// Opens the file of a handle on the file system with this `st_dev`; nil for another file system.
  typealias Open = (
    _ device: UInt64, _ type: CInt, _ handle: [UInt8]
  ) throws(SystemError) -> Descriptor?

  private let open: Open
  private let unknowns: Unknowns
  /// The one file that the descriptors of inotify, epoll and the like are all open on.
  private let anonymous: FileIdentity?

  init(_ open: @escaping Open, _ unknowns: Unknowns) {
    self.open = open
    self.unknowns = unknowns
    do throws(SystemError) {
      let file = Descriptor(
        owning: try check("epoll_create1", nil, linux_anonymous_file()))
      anonymous = try file.status().identity
    } catch {
      unknowns.add(error)
      anonymous = nil
    }
  }

  func isAnonymous(_ file: FileStatus) -> Bool { file.identity == anonymous }

  /// Calls `body` with each watched file, by its link in a directory of this process's own.
  func forEachMark(
    of name: FilePath, in task: borrowing Directory,
    _ body: (_ file: FileStatus, _ name: FilePath, _ own: borrowing Directory) -> Void
  ) {
    do throws(SystemError) {
      let target = try linkTarget(of: task.path(of: "fd/\(name)"))
      guard target == "anon_inode:inotify" || target == "anon_inode:[fanotify]" else { return }
      let own = try Directory(opening: "/proc/\(getpid())/fd")
      let text = try kernelFile(task.path(of: "fdinfo/\(name)"))
      for line in text.split(separator: UInt8(ascii: "\n")) {
        guard Inspection.goesOn() else { return }
        guard let mark = Mark(line) else { continue }
        guard let file = try open(mark.device, mark.type, mark.handle) else { continue }
        if let status = try own.status(behind: "\(file.number)") {
          body(status, "\(file.number)", own)
        }
      }
    } catch {
      unknowns.add(error, about: task.path)
    }
  }

  /// A line `inotify wd:1 ino:2 sdev:800001 … fhandle-bytes:8 fhandle-type:1 f_handle:0200…`.
  private struct Mark {
    let device: UInt64
    let type: CInt
    let handle: [UInt8]

    init?(_ line: ArraySlice<UInt8>) {
      let fields = line.split(separator: UInt8(ascii: " "))
      guard let kind = fields.first,
        kind.elementsEqual("inotify".utf8) || kind.elementsEqual("fanotify".utf8)
      else { return nil }
      func value(_ name: FilePath) -> [UInt8]? {
        fields.first { $0.starts(with: name.bytes) }.map { Array($0.dropFirst(name.bytes.count)) }
      }
      func number(_ name: FilePath) -> UInt32? {
        value(name)?.number(radix: 16)
      }
      guard let device = number("sdev:"), let type = number("fhandle-type:"),
        let digits = value("f_handle:"), digits.count % 2 == 0
      else { return nil }
      // The kernel's own encoding: twenty bits of the minor number.
      self.device = linux_makedev(device >> 20, device & 0xfffff)
      self.type = CInt(truncatingIfNeeded: type)
      handle = stride(from: 0, to: digits.count, by: 2).compactMap {
        digits[$0...($0 + 1)].number(radix: 16)
      }
    }
  }
}
