import Kernel
import Seccomp

/// Which system calls the program may make: seccomp(2).
public struct SystemCallFilter: Equatable, Sendable {
  /// Where it comes from, for messages.
  public let name: String
  public let program: FilterProgram
  /// In force from before `execve` in a dynamic program, whose loader needs more than the program:
  /// ``program`` follows when the loader is done.
  public let startup: FilterProgram
  public var flags: SystemCallFilters.Flags = []

  /// A program as it is, `--seccomp-bpf-binary`. Nothing is known of what it allows.
  public init(
    binary program: FilterProgram, name: String, architecture: Architecture? = .current
  ) throws(JailError) {
    self.name = name
    self.program = program
    guard let architecture else { throw Self.unknownArchitecture }
    do throws(CompileError) {
      startup = try program.allowingLoader(on: architecture)
    } catch {
      throw JailError("\(name): with what a loader needs before it, \(error)")
    }
  }

  /// A policy, `-S`.
  public init(
    policy: Policy, name: String, compiler: Compiler = Compiler()
  ) throws(JailError) {
    self.name = name
    do throws(CompileError) {
      program = try compiler.compile(policy)
      startup = try compiler.startupFilter(for: policy).program
    } catch {
      // In the order of the reference: the reason, and then the file as a whole.
      throw JailError(
        "failed to compile seccomp filter BPF program in '\(name)'", details: ["\(error)"])
    }
  }

  static var unknownArchitecture: JailError {
    JailError("this machine's system calls are not in the tables")
  }

  /// Reads and compiles a policy file of the running architecture.
  ///
  /// - Parameter read: gives the contents of the file, and of those that it includes.
  static func policy(
    _ file: String, compiler: Compiler, read: @escaping PolicyParser.Reader
  ) throws(JailError) -> (filter: SystemCallFilter, warnings: [String]) {
    guard let architecture = Architecture.current else { throw unknownArchitecture }
    let parser = PolicyParser(
      architecture: architecture, toleratesUnknownCalls: compiler.logs, read: read)
    let policy: Policy
    do throws(PolicyError) { policy = try parser.parse(file: file) } catch {
      let lines = error.lines
      throw JailError(lines.last ?? error.description, details: Array(lines.dropLast()))
    }
    let filter = try SystemCallFilter(policy: policy, name: file, compiler: compiler)
    return (filter, policy.warnings.flatMap(\.lines))
  }
}
