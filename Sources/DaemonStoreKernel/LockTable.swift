import CDaemonStoreLinux
import Glibc

/// `/proc/locks`: proc_locks(5).
enum LockTable {
  /// The process that has an flock(2) on this file, from the text of the table.
  static func holder(of file: FileIdentity, in text: [UInt8]) -> pid_t? {
    for line in text.lines {
      // number: FLOCK ADVISORY WRITE pid major:minor:inode start end; "->" marks one that waits.
      let fields = line.words
      guard fields.count > 5, fields[1].equals("FLOCK") else { continue }
      let place = fields[5].split(separator: UInt8(ascii: ":"))
      guard place.count == 3, let major: UInt32 = place[0].number(radix: 16),
        let minor: UInt32 = place[1].number(radix: 16), let inode: UInt64 = place[2].number(),
        file == FileIdentity(device: linux_makedev(major, minor), inode: inode),
        let process: pid_t = fields[4].number(), process > 0
      else { continue }
      return process
    }
    return nil
  }
}
