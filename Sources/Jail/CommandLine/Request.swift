import DaemonStoreKernel

/// What a command line asks for, as it is written: nothing of the system was looked at.
struct Request: Equatable {
  /// A question to the system, or something to check there, at its place on the command line.
  enum LookUp: Equatable {
    case user(AccountWord)
    case group(AccountWord)
    case addedGroup(AccountWord)
    /// Whether the kernel knows all of the set.
    case capabilities(CapabilitySet, RawArgument)
    /// Whether the file can be opened.
    case namespaceFile(FilePath, option: String)
    /// Whether it is open, and is to be kept.
    case descriptor(CInt)
  }

  /// How the launcher itself was called.
  let launcher: String
  var action = Command.Action.run
  /// What needs no look-up.
  var configuration = JailConfiguration()
  private(set) var lookUps: [LookUp] = []
  /// The program and its arguments.
  var words: [RawArgument] = []

  var inheritsGroups = false
  var keepsGroups = false
  var addsGroups = false
  var asksForUserNamespace = false
  var userMap: [IDRange]??  // the outer nil for never, the inner for no value
  var groupMap: [IDRange]??
  var filterSource: FilterSource?
  var logsViolations = false
  var synchronizesThreads = false
  var allowsSpeculation = false
  var noNewPrivileges = false
  var defaultEnvironment = true

  init(launcher: String) { self.launcher = launcher }

  mutating func lookUp(_ question: LookUp) { lookUps.append(question) }

  /// Whether only a text is wanted, and the rest of the command line counts for nothing.
  var asksForText: Bool { [.help, .systemCalls, .version].contains(action) }
}

/// The value of `-u`, `-g` or `--add-suppl-group`: a number or a name.
struct AccountWord: Equatable {
  let word: RawArgument
  /// nil for a name.
  let number: UInt32?

  /// The last number, 4294967295, means "no change" to the kernel.
  init(_ word: RawArgument, _ kind: String) throws(JailError) {
    self.word = word
    guard !word.isEmpty else { throw JailError("Bad \(kind) '': it is empty") }
    let hasSign = word.bytes[0] == UInt8(ascii: "-") || word.bytes[0] == UInt8(ascii: "+")
    let digits = word.bytes.dropFirst(hasSign ? 1 : 0)
    guard !digits.isEmpty, digits.allSatisfy({ (48...57).contains($0) }) else {
      number = nil
      return
    }
    guard let number = word.text.flatMap({ UInt32($0) }), number != .max else {
      throw JailError("Bad \(kind) '\(word)': a number is 0 to 4294967294")
    }
    self.number = number
  }
}
