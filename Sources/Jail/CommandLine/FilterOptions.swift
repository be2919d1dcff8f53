import Glibc
import DaemonStoreKernel
import Seccomp

/// Where the filter of system calls comes from: one place only.
enum FilterSource: Equatable {
  case policy(FilePath)
  case binary(FilePath)
  case strict
  case learning(FilePath)

  fileprivate var spelling: String {
    switch self {
    case .policy: "-S"
    case .binary: "--seccomp-bpf-binary"
    case .strict: "-s"
    case .learning: "--learn"
    }
  }
}

extension CommandLineParser {
  /// What is loaded where nobody asks for a filter, if it is there.
  static let defaultFilter: FilePath = "/etc/security/minijail/v0.bin"

  mutating func takeFilter(_ option: FoundOption, _ value: RawArgument) throws(JailError) {
    switch option.name {
    case .policy: try set(.policy(FilePath(value)))
    case .filterBinary: try set(.binary(FilePath(value)))
    case .strictMode: try set(.strict)
    case .learn:
      guard !value.isEmpty else { throw JailError("--learn needs a file") }
      try set(.learning(FilePath(value)))
    case .logViolations:
      logsViolations = true
      try checkLogging()
    case .synchronizeThreads: synchronizesThreads = true
    default: allowsSpeculation = true
    }
  }

  private mutating func set(_ source: FilterSource) throws(JailError) {
    if let old = filterSource, old.spelling != source.spelling {
      throw JailError("\(source.spelling) and \(old.spelling) are exclusive options")
    }
    filterSource = source
    try checkLogging()
  }

  private func checkLogging() throws(JailError) {
    if case .binary = filterSource, logsViolations {
      throw JailError("-L and --seccomp-bpf-binary are exclusive options")
    }
  }

  /// Reads and compiles; the default one where there is none, unless it was switched off.
  mutating func finishFilter() throws(JailError) {
    command.configuration.noNewPrivileges = noNewPrivileges
    switch filterSource {
    case .policy(let file): try takePolicy(file)
    case .binary(let file):
      guard let bytes = try contents(file, option: "--seccomp-bpf-binary \(file)") else { return }
      try takeBinary(bytes, file)
    case .strict, .learning, nil:
      if filterSource == .strict { command.configuration.filter = try SystemCallFilter.strict() }
      if case .learning(let file) = filterSource { command.configuration.learnedPolicy = file }
      guard defaultEnvironment else {
        // The kernel's own strict mode needs no right; the filter that stands for it does.
        if filterSource == .strict { command.configuration.noNewPrivileges = true }
        return
      }
      command.configuration.noNewPrivileges = true
      try takeDefault()
    }
  }

  private mutating func takePolicy(_ file: FilePath) throws(JailError) {
    var compiler = Compiler()
    compiler.killsProcess = synchronizesThreads
    compiler.logs = logsViolations
    if logsViolations {
      guard world.canLog() else {
        throw JailError("-L: this kernel cannot log what a filter denies (Linux 4.14)")
      }
      command.warnings.append("logging seccomp filter failures")
    }
    let world = world
    let (filter, policy) = try SystemCallFilter.policy(file, compiler: compiler) {
      (path: FilePath) throws(ReadFailure) in
      do throws(SystemError) {
        if let bytes = try world.contents(path, PolicyLimits.fileBytes) { return bytes }
      } catch {
        throw ReadFailure(isMissing: error.code == ENOENT, reason: error.reason)
      }
      throw ReadFailure(isMissing: false, reason: "it is too large")
    }
    command.warnings += policy.warnings.flatMap(\.lines)
    command.configuration.filter = filter
    compiled = (policy, compiler)
    setFlags()
  }

  /// What only a program with a loader needs, once it is known that it may have one.
  mutating func finishStartupFilter() throws(JailError) {
    guard command.configuration.linkage != .static else { return }
    try command.configuration.filter?.prepareForLoader(
      compiled?.policy, compiler: compiled?.compiler ?? Compiler())
  }

  private mutating func takeBinary(
    _ bytes: [UInt8], _ file: FilePath, option: String = "--seccomp-bpf-binary "
  ) throws(JailError) {
    let program: FilterProgram
    do throws(ProgramError) { program = try FilterProgram(bytes: bytes) } catch {
      throw JailError("\(option)\(file): \(error)")
    }
    command.configuration.filter = SystemCallFilter(binary: program, name: file.description)
    setFlags()
  }

  private mutating func takeDefault() throws(JailError) {
    let file = Self.defaultFilter
    guard let bytes = try contents(file, option: "\(file)", isOptional: true) else { return }
    if filterSource == .strict || logsViolations {
      throw JailError(
        "\(filterSource == .strict ? "-s" : "-L without -S"): the default filter \(file) would be "
          + "loaded as well; use --no-default-runtime-environment, and -n")
    }
    if case .learning = filterSource { return }  // what is learnt replaces it
    try takeBinary(bytes, file, option: "the default filter ")
  }

  private func contents(
    _ file: FilePath, option: String, isOptional: Bool = false
  ) throws(JailError) -> [UInt8]? {
    do throws(SystemError) {
      if let bytes = try world.contents(file, FilterProgram.lengthLimit * 8) { return bytes }
    } catch {
      if isOptional, error.code == ENOENT { return nil }
      throw JailError(option, error)
    }
    throw JailError("\(option): it has more than \(FilterProgram.lengthLimit) instructions")
  }

  private mutating func setFlags() {
    if synchronizesThreads { command.configuration.filter?.flags.insert(.synchronizesThreads) }
    if allowsSpeculation { command.configuration.filter?.flags.insert(.allowsSpeculation) }
  }
}
