import CLinux
import Glibc

/// `/proc/locks`: proc_locks(5).
enum LockTable {
  /// The process that has an flock(2) on this file, from the text of the table.
  static func holder(of file: FileIdentity, in text: [UInt8]) -> pid_t? {
    for line in text.split(separator: UInt8(ascii: "\n")) {
      // number: FLOCK ADVISORY WRITE pid major:minor:inode start end; "->" marks one that waits.
      let fields = line.split(separator: UInt8(ascii: " ")).map(Array.init)
      guard fields.count > 5, fields[1] == Array("FLOCK".utf8) else { continue }
      let place = fields[5].split(separator: UInt8(ascii: ":"))
        .map { String(decoding: $0, as: UTF8.self) }
      guard place.count == 3, let major = UInt32(place[0], radix: 16),
        let minor = UInt32(place[1], radix: 16),
        file == FileIdentity(device: linux_makedev(major, minor), inode: UInt64(place[2]) ?? 0),
        let process = pid_t(String(decoding: fields[4], as: UTF8.self)), process > 0
      else { continue }
      return process
    }
    return nil
  }
}
