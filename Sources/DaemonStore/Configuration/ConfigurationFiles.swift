import Glibc
import DaemonStoreKernel

extension Configuration {
  private static let largestFile = 64 << 10
  private static let mostFiles = 64

  /// Reads `/etc/daemon-store.conf`, then `/etc/daemon-store.conf.d/*.conf` in the order of the bytes of
  /// their names: what is read later counts. What cannot be used is an error in the result, and the
  /// rest applies.
  package init(of layout: Layout) {
    self.init()
    do {
      let etc = try Directory(opening: layout.root).trusted("etc")
      read("daemon-store.conf", in: etc)
      guard try etc.status(of: "daemon-store.conf.d") != nil else { return }
      let parts = try etc.trusted("daemon-store.conf.d")
      let names = try parts.names().filter {
        $0.bytes.first != UInt8(ascii: ".") && $0.dropping(suffix: ".conf") != nil
      }
      if names.count > Self.mostFiles {
        errors.append(
          "\(parts.path): holds more than \(Self.mostFiles) files; the rest is not used, join some")
      }
      for name in names.prefix(Self.mostFiles) { read(name, in: parts) }
    } catch let error as SystemError {
      if error.code != ENOENT { errors.append("\(error)") }
    } catch {
      errors.append("\(error)")
    }
  }

  /// A regular file of root's that only root can write.
  private mutating func read(_ name: FilePath, in directory: borrowing Directory) {
    let path = directory.path(of: name)
    do throws(SystemError) {
      guard let status = try directory.status(of: name) else { return }
      guard status.mode & S_IFMT == S_IFREG else {
        errors.append("\(path): is \(status.kind), not a file; replace it")
        return
      }
      let file = try directory.file(name, flags: O_RDONLY | O_NONBLOCK, crossingMounts: true)
      let opened = try file.status(shown: path)
      guard opened.mode & S_IFMT == S_IFREG, opened.owner == 0, opened.permissions & 0o022 == 0
      else {
        errors.append(
          "\(path): can be changed by others than root; chown it to root, chmod go-w it")
        return
      }
      guard let bytes = try file.read(atMost: Self.largestFile, shown: path) else {
        errors.append("\(path): is larger than 64 KiB; shorten it")
        return
      }
      read(bytes, from: path)
    } catch {
      errors.append("\(error)")
    }
  }
}
