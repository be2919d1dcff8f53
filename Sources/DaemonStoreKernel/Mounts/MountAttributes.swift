import CDaemonStoreLinux
import Glibc

/// What a mount has of its own, as mount_setattr(2) and statmount(2) number it: `MOUNT_ATTR_…`.
/// mountinfo calls the same by the words of ``options``.
package struct MountAttributes: OptionSet, Hashable, Sendable {
  package let rawValue: UInt64
  package init(rawValue: UInt64) { self.rawValue = rawValue }

  package static let readOnly = Self(rawValue: UInt64(MOUNT_ATTR_RDONLY))
  package static let noSetID = Self(rawValue: UInt64(MOUNT_ATTR_NOSUID))
  package static let noDevices = Self(rawValue: UInt64(MOUNT_ATTR_NODEV))
  package static let noExecution = Self(rawValue: UInt64(MOUNT_ATTR_NOEXEC))
  package static let noAccessTime = Self(rawValue: UInt64(MOUNT_ATTR_NOATIME))
  package static let strictAccessTime = Self(rawValue: UInt64(MOUNT_ATTR_STRICTATIME))
  package static let noDirectoryAccessTime = Self(rawValue: UInt64(MOUNT_ATTR_NODIRATIME))
  /// Linux 5.14.
  package static let noSymlinkFollow = Self(rawValue: LINUX_MOUNT_ATTR_NOSYMFOLLOW)
  package static let idMapped = Self(rawValue: 0x10_0000)
  /// All kinds of access time: they are one field, cleared before one of them is set. Nothing set in it
  /// is `relatime`.
  package static let accessTime = Self(rawValue: UInt64(MOUNT_ATTR__ATIME))

  /// `nosuid,nodev`: for a home that programs run from.
  package static let home: Self = [.noSetID, .noDevices]
  /// `nosuid,nodev,noexec,nosymfollow`: for a folder that holds nothing but data.
  package static let data: Self = [.home, .noExecution, .noSymlinkFollow]

  /// In the order of mountinfo.
  private static let known: [(Self, StaticString)] = [
    (.noSetID, "nosuid"), (.noDevices, "nodev"), (.noExecution, "noexec"),
    (.noAccessTime, "noatime"), (.noDirectoryAccessTime, "nodiratime"),
    (.noSymlinkFollow, "nosymfollow"), (.idMapped, "idmapped"),
  ]

  /// - Parameter options: of a mount in mountinfo. Words of later kernels are passed over.
  package init(options: ArraySlice<UInt8>) {
    var result: Self = .strictAccessTime
    for word in options.split(separator: UInt8(ascii: ",")) {
      if word.equals("ro") {
        result.insert(.readOnly)
      } else if word.equals("relatime") {
        result.subtract(.accessTime)
      } else if let attribute = Self.known.first(where: { word.equals($0.1) })?.0 {
        if attribute == .noAccessTime { result.subtract(.accessTime) }
        result.insert(attribute)
      }
    }
    self = result
  }

  /// `rw,nosuid,relatime`: as mountinfo has it.
  package var options: String { optionWords.joined(separator: ",") }

  package var optionWords: [String] {
    [contains(.readOnly) ? "ro" : "rw"] + words(withTime: true)
  }

  /// Those that are set, in the words of mountinfo.
  package var names: [String] {
    (contains(.readOnly) ? ["ro"] : []) + words(withTime: false)
  }

  private func words(withTime: Bool) -> [String] {
    var words: [String] = []
    for (attribute, word) in Self.known {
      // Between the two comes what has no bit.
      if attribute == .noSymlinkFollow, withTime, isDisjoint(with: .accessTime) {
        words.append("relatime")
      }
      if contains(attribute) { words.append("\(word)") }
    }
    return words
  }

  /// After mount_setattr(2), which clears before it sets.
  package func changed(setting set: Self, clearing clear: Self) -> Self {
    subtracting(set.isDisjoint(with: .accessTime) ? clear : clear.union(.accessTime)).union(set)
  }
}
