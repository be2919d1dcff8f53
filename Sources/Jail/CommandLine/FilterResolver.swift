import DaemonStoreKernel
import Glibc
import Seccomp

/// Reads and compiles the filter of system calls that a ``Request`` names.
struct FilterResolver {
  /// What is loaded where nobody asks for a filter, if it is there.
  static let defaultFilter: FilePath = "/etc/security/minijail/v0.bin"

  let world: OutsideWorld
  let request: Request

  var compiler: Compiler {
    var compiler = Compiler()
    if case .policy = request.filterSource {
      compiler.killsProcess = request.synchronizesThreads
      compiler.logs = request.logsViolations
    }
    return compiler
  }

  /// The default filter where there is none, unless it was switched off.
  ///
  /// - Returns: the policy that it was compiled from, if it was.
  func setFilter(of command: inout Command) throws(JailError) -> Policy? {
    command.configuration.noNewPrivileges = request.noNewPrivileges
    switch request.filterSource {
    case .policy(let file): return try setPolicy(file, of: &command)
    case .binary(let file):
      let option = "--seccomp-bpf-binary "
      guard let bytes = try contents(file, option: "\(option)\(file)", isOptional: false) else {
        throw JailError("\(option)\(file): it is missing")
      }
      command.configuration.filter = try binary(bytes, file, option: option)
    case .strict:
      command.configuration.filter = try SystemCallFilter.strict()
      try setDefault(of: &command.configuration)
      // The kernel's own strict mode needs no right; the filter that stands for it does.
      command.configuration.noNewPrivileges = true
    case .learning(let file):
      command.configuration.learnedPolicy = file
      try setDefault(of: &command.configuration)
    case nil: try setDefault(of: &command.configuration)
    }
    return nil
  }

  private func setPolicy(
    _ file: FilePath, of command: inout Command
  ) throws(JailError) -> Policy {
    if request.logsViolations {
      guard world.canLog() else {
        throw JailError("-L: this kernel cannot log what a filter denies (Linux 4.14)")
      }
      command.warnings.append("logging seccomp filter failures")
    }
    let world = world
    var (filter, policy) = try SystemCallFilter.policy(file, compiler: compiler) {
      (path: FilePath) throws(ReadFailure) in
      do throws(SystemError) {
        if let bytes = try world.contents(path, PolicyLimits.fileBytes) { return bytes }
      } catch {
        throw ReadFailure(isMissing: error.code == ENOENT, reason: error.reason)
      }
      throw ReadFailure(isMissing: false, reason: "it is too large")
    }
    command.warnings += policy.warnings.flatMap(\.lines)
    filter.flags = flags
    command.configuration.filter = filter
    return policy
  }

  private func binary(
    _ bytes: [UInt8], _ file: FilePath, option: String
  ) throws(JailError) -> SystemCallFilter {
    let program: FilterProgram
    do throws(ProgramError) { program = try FilterProgram(bytes: bytes) } catch {
      throw JailError("\(option)\(file): \(error)")
    }
    var filter = SystemCallFilter(binary: program, name: file.description)
    filter.flags = flags
    return filter
  }

  private func setDefault(of configuration: inout JailConfiguration) throws(JailError) {
    guard request.defaultEnvironment else { return }
    configuration.noNewPrivileges = true
    let file = Self.defaultFilter
    guard let bytes = try contents(file, option: "\(file)", isOptional: true) else { return }
    if request.filterSource == .strict || request.logsViolations {
      throw JailError(
        "\(request.filterSource == .strict ? "-s" : "-L without -S"): the default filter \(file) "
          + "would be loaded as well; use --no-default-runtime-environment, and -n")
    }
    if case .learning = request.filterSource { return }  // what is learnt replaces it
    configuration.filter = try binary(bytes, file, option: "the default filter ")
  }

  /// nil for an optional file that is missing.
  private func contents(
    _ file: FilePath, option: String, isOptional: Bool
  ) throws(JailError) -> [UInt8]? {
    do throws(SystemError) {
      if let bytes = try world.contents(file, FilterProgram.lengthLimit * 8) { return bytes }
    } catch {
      if isOptional, error.code == ENOENT { return nil }
      throw JailError(option, error)
    }
    throw JailError("\(option): it has more than \(FilterProgram.lengthLimit) instructions")
  }

  private var flags: SystemCallFilters.Flags {
    var flags: SystemCallFilters.Flags = []
    if request.synchronizesThreads { flags.insert(.synchronizesThreads) }
    if request.allowsSpeculation { flags.insert(.allowsSpeculation) }
    return flags
  }
}
