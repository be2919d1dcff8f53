import Glibc
import DaemonStoreKernel

/// What becomes of processes that hold files of a user who logs out.
package enum HolderPolicy: String, CaseIterable, Sendable, Comparable {
  /// They are named.
  case report
  /// They get SIGTERM, and after ten seconds SIGKILL.
  case terminate
  /// They get SIGKILL.
  case kill

  package static func < (left: HolderPolicy, right: HolderPolicy) -> Bool {
    left != right && (left == .report || right == .kill)
  }
}

/// What `/etc/daemon-store.conf` and `/etc/daemon-store.conf.d` say.
package struct Configuration: Sendable {
  /// What a section is about.
  package enum Section: Hashable, Sendable, CustomStringConvertible {
    /// The user's own files.
    case home
    /// The folders in one store.
    case store(StoreName)
    /// The folders in all stores that have no section themselves.
    case everyStore

    package var description: String {
      switch self {
      case .home: "home"
      case .store(let name): "store \(name)"
      case .everyStore: "store *"
      }
    }
  }

  package enum Key: String, CaseIterable, Sendable {
    case holders
    case holdersServices = "holders-services"

    /// The value where no file has one.
    package var standard: String {
      switch self {
      case .holders: HolderPolicy.report.rawValue
      case .holdersServices: "no"
      }
    }

    var values: [String] {
      switch self {
      case .holders: HolderPolicy.allCases.map(\.rawValue)
      case .holdersServices: ["yes", "no"]
      }
    }
  }

  /// A value, and where it comes from.
  package struct Setting: Sendable {
    package let value: String
    /// `PATH:LINE`; nil for the standard value.
    package let origin: String?
  }

  /// Why a line or a file is not used: `PATH:LINE: reason`.
  package internal(set) var errors: [String] = []
  private var settings: [Section: [Key: Setting]] = [:]

  /// Keys of later versions.
  private static let reserved = ["by-name", "quota", "lock-on", "escrow"]
  /// What a line may have.
  private static let longestLine = 1024

  package init() {}

  /// What counts in a section.
  package func setting(_ key: Key, in section: Section) -> Setting {
    if let own = settings[section]?[key] { return own }
    if case .store = section, let every = settings[.everyStore]?[key] { return every }
    return Setting(value: key.standard, origin: nil)
  }

  /// `home`, `store *`, and each store that has a section, in the order of the names.
  package var sections: [Section] {
    let stores = settings.keys.compactMap { section -> StoreName? in
      if case .store(let name) = section { name } else { nil }
    }
    return [.home, .everyStore] + stores.sorted().map { .store($0) }
  }

  package func holderPolicy(in section: Section) -> HolderPolicy {
    HolderPolicy(rawValue: setting(.holders, in: section).value) ?? .report
  }

  package func mayEndServices(in section: Section) -> Bool {
    setting(.holdersServices, in: section).value.utf8.elementsEqual("yes".utf8)
  }

  /// Reads one file on top of what was read before. A line that is wrong is an error, and the rest
  /// applies.
  mutating func read(_ bytes: [UInt8], from path: FilePath) {
    var section: Section?
    var isUnknown = false
    var number = 0
    for line in bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false) {
      number += 1
      let place = "\(path):\(number)"
      guard line.count <= Self.longestLine else {
        errors.append("\(place): is longer than \(Self.longestLine) bytes; shorten it")
        continue
      }
      let text = Self.trimmed(line)
      guard let first = text.first, first != UInt8(ascii: "#"), first != UInt8(ascii: ";") else {
        continue
      }
      if first == UInt8(ascii: "[") {
        section = Self.section(text)
        isUnknown = section == nil
        if isUnknown {
          errors.append(
            "\(place): unknown section \(Self.shown(text)); use [home], [store NAME] or [store *]")
        }
      } else if let section {
        read(text, at: place, in: section)
      } else if !isUnknown {
        errors.append("\(place): no section is above this line; put [home] or [store NAME] there")
      }
    }
  }

  private mutating func read(_ text: ArraySlice<UInt8>, at place: String, in section: Section) {
    guard let sign = text.firstIndex(of: UInt8(ascii: "=")) else {
      errors.append("\(place): \(Self.shown(text)) is no setting; write KEY=VALUE")
      return
    }
    let name = Self.trimmed(text[..<sign])
    let value = Self.trimmed(text[(sign + 1)...])
    guard let key = Key.allCases.first(where: { name.elementsEqual($0.rawValue.utf8) }) else {
      let isReserved = Self.reserved.contains { name.elementsEqual($0.utf8) }
      errors.append(
        isReserved
          ? "\(place): \(Self.shown(name)) is not supported by this version; remove the line"
          : "\(place): unknown key \(Self.shown(name)); use "
            + Key.allCases.map(\.rawValue).joined(separator: " or "))
      return
    }
    guard let known = key.values.first(where: { value.elementsEqual($0.utf8) }) else {
      errors.append(
        "\(place): \(key.rawValue) cannot be \(Self.shown(value)); use "
          + key.values.joined(separator: ", "))
      return
    }
    settings[section, default: [:]][key] = Setting(value: known, origin: place)
  }

  /// The beginning of it: a line may be long.
  private static func shown(_ text: ArraySlice<UInt8>) -> String {
    text.count > 64 ? "\(shownBytes(text.prefix(64)))…" : shownBytes(text)
  }

  private static func section(_ text: ArraySlice<UInt8>) -> Section? {
    guard text.count > 2, text.last == UInt8(ascii: "]") else { return nil }
    let words = text.dropFirst().dropLast().split {
      $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "\t")
    }
    switch words.count {
    case 1 where words[0].elementsEqual("home".utf8): return .home
    case 2 where words[0].elementsEqual("store".utf8):
      if words[1].elementsEqual("*".utf8) { return .everyStore }
      return String(validating: words[1], as: UTF8.self).flatMap { StoreName($0) }
        .map { .store($0) }
    default: return nil
    }
  }

  /// Without blanks and carriage returns at both ends.
  private static func trimmed(_ text: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
    func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 || byte == 0x0d }
    let start = text.drop(while: isBlank)
    guard let last = start.lastIndex(where: { !isBlank($0) }) else { return [] }
    return start[...last]
  }
}
