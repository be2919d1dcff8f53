import DaemonStoreKernel

/// The path as one word of a command for sh(1), in one line.
func shellWord(_ word: FilePath) -> String {
  func isPlain(_ byte: UInt8) -> Bool {
    (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte | 0x20)
      || (UInt8(ascii: "-")...UInt8(ascii: "9")).contains(byte) || byte == UInt8(ascii: "_")
  }
  if word.bytes.allSatisfy(isPlain) && !word.isEmpty { return word.description }
  // Shown to a person, a control character and what is not UTF-8 would be another text.
  guard let text = word.text, oneLine(text) == text else {
    let bytes = word.bytes.map { byte in
      let octal = String(byte, radix: 8)
      return isPlain(byte)
        ? String(UnicodeScalar(byte))
        : "\\" + String(repeating: "0", count: 3 - octal.count) + octal
    }
    // The shell takes line ends off the end of what a command prints; IFS ends with one.
    let ends = bytes.reversed().prefix { $0 == "\\012" }.count
    return "\"$(printf '\(bytes.dropLast(ends).joined())')"
      + String(repeating: "${IFS#??}", count: ends) + "\""
  }
  let quote = UInt8(ascii: "'")
  let quoted = text.utf8.split(separator: quote, omittingEmptySubsequences: false)
    .joined(separator: "'\\''".utf8)
  return String(decoding: [quote] + quoted + [quote], as: UTF8.self)
}

/// Something on this machine that is not as it should be: what a doctor says of it.
package struct Finding: Equatable, Sendable {
  /// In the order of their weight, the most serious first.
  package enum Kind: String, CaseIterable, Sendable {
    /// Somebody else than root decides which stores there are, or who owns them.
    case insecureTemplate = "insecure-template"
    /// Somebody else than root can change a directory that users' data is reached through.
    case insecureDirectory = "insecure-directory"
    /// A mount namespace shows data of a user who is logged out.
    case pinnedData = "pinned-data"
    /// The key of a user who is logged out is in the kernel still.
    case staleKey = "stale-key"
    /// Part of a user is mounted, and not the home.
    case mountsWithoutLogin = "mounts-without-login"
    /// Files of a user lie in clear below a home that is shown over them.
    case homeInClear = "home-in-clear"

    /// cryptohomed cannot act where the system's mounts are.
    case serviceConfined = "service-confined"

    case storeMissing = "store-missing"
    case storeStacked = "store-stacked"
    /// Something else is at its place.
    case storeReplaced = "store-replaced"
    case storeNotShared = "store-not-shared"
    case storeForeignGroup = "store-foreign-group"
    case storeDrifted = "store-drifted"

    case daemonPrivateCopy = "daemon-private-copy"
    case daemonBareDirectory = "daemon-bare-directory"
    case daemonFormerStore = "daemon-former-store"
    case daemonStrayGroup = "daemon-stray-group"
    /// A login has not arrived: a bind that was not recursive.
    case daemonMissesUser = "daemon-misses-user"

    /// The salt is gone, cut off, or another: no user is found by name.
    case saltUnusable = "salt-unusable"
    /// An encrypted vault that is recorded, and is not there.
    case vaultMissing = "vault-missing"
    /// A user's vault that is damaged, or of a kind that is not known.
    case badVault = "bad-vault"
    /// The account that a vault belongs to has another uid now.
    case vaultForeignUid = "vault-foreign-uid"
    /// The removal of a vault was interrupted: files of it are left.
    case removalUnfinished = "removal-unfinished"
    /// Another user exchanged directories while a logout renewed one, and a crash came between.
    case misplacedDirectory = "misplaced-directory"

    /// The account that a vault belongs to is gone, or has another name.
    case vaultWithoutUser = "vault-without-user"
    case userIncomplete = "user-incomplete"
    case ownerDrift = "owner-drift"
    case storeWithoutTemplate = "store-without-template"
    /// Something that could not be looked at.
    case unseen

    package var severity: Severity {
      switch self {
      case .insecureTemplate, .insecureDirectory, .pinnedData, .staleKey, .mountsWithoutLogin,
        .homeInClear:
        .critical
      case .vaultWithoutUser, .userIncomplete, .ownerDrift, .storeWithoutTemplate, .unseen:
        .warning
      default: .error
      }
    }
  }

  package enum Severity: String, Sendable {
    /// Data may be seen, or taken, by whom it is not for.
    case critical
    /// Something does not work.
    case error
    case warning
  }

  package let kind: Kind
  /// What it is about: a path, a process, a user.
  package let subject: String
  /// What is wrong, after the subject: `is not shared`.
  package let problem: String
  /// What was seen, a line each.
  package let evidence: [String]
  /// The command that fixes it, for sh(1); what it cannot do is a comment after it.
  package let fix: String

  package init(
    _ kind: Kind, _ subject: String, _ problem: String, evidence: [String], fix: String
  ) {
    self.kind = kind
    self.subject = subject
    self.problem = problem
    self.evidence = evidence
    self.fix = fix
  }

  /// The same about a path.
  package init(
    _ kind: Kind, _ path: FilePath, _ problem: String, evidence: [String], fix: String
  ) {
    self.init(kind, path.description, problem, evidence: evidence, fix: fix)
  }

  /// A command line for sh(1) of these words.
  package static func command(_ words: FilePath...) -> String {
    words.map(shellWord).joined(separator: " ")
  }

  /// The most serious first, and otherwise in the order that they were found in.
  package static func sorted(_ findings: [Finding]) -> [Finding] {
    let order = Dictionary(uniqueKeysWithValues: Kind.allCases.enumerated().map { ($1, $0) })
    return findings.enumerated().sorted {
      (order[$0.element.kind] ?? 0, $0.offset) < (order[$1.element.kind] ?? 0, $1.offset)
    }.map(\.element)
  }
}
