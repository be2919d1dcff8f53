import DaemonStoreKernel
import Seccomp

/// Which system calls the program may make: seccomp(2).
public struct SystemCallFilter: Equatable, Sendable {
  /// Where it comes from, for messages.
  public let name: String
  package let program: FilterProgram
  /// In force from before `execve` in a dynamic program, whose loader needs more than the program:
  /// ``completion`` follows when the loader is done. nil until ``prepareForLoader()``.
  package private(set) var startup: FilterProgram?
  /// With ``startup`` in force it is the same as ``program``, and it may be cheaper.
  package private(set) var completion: FilterProgram
  /// What a violation is to the launcher.
  package var isStrictMode = false
  package var flags: SystemCallFilters.Flags = []

  /// A program as it is, `--seccomp-bpf-binary`. Nothing is known of what it allows.
  ///
  /// - Parameter name: for messages.
  public init(binary program: FilterProgram, name: String) {
    self.name = name
    self.program = program
    completion = program
  }

  /// Makes the start-up filter, which is in force until the dynamic loader is done. A dynamic
  /// program does not start without it; a static one needs none.
  ///
  /// - Parameters:
  ///   - policy: what this filter was compiled from, where that is known: it makes the cheaper
  ///     start-up filter.
  ///   - compiler: as for the filter itself.
  /// - Throws: if the filter comes to more than 4096 instructions with what a loader needs, and on
  ///   a machine without tables of system calls.
  public mutating func prepareForLoader(
    _ policy: Policy? = nil, compiler: Compiler = Compiler()
  ) throws(JailError) {
    if let policy, let filter = try? compiler.startupFilter(for: policy) {
      startup = filter.program
      completion = filter.completion
      return
    }
    guard let architecture = policy?.architecture ?? Architecture.current else {
      throw Self.unknownArchitecture
    }
    do throws(CompileError) {
      startup = try program.allowingLoader(on: architecture)
    } catch {
      throw JailError("\(name): with what a loader needs before it, \(error)")
    }
  }

  /// What is loaded before execve(2).
  ///
  /// - Parameter whileLoading: whether the program has a loader, and ``completion`` comes after that.
  func program(whileLoading: Bool) throws(JailError) -> FilterProgram {
    guard whileLoading else { return program }
    guard let startup else { throw JailError("\(name): there is no filter for a loader") }
    return startup
  }

  /// For messages.
  var loading: String { "load the filter of \(name) (needs no_new_privs, -n)" }

  /// `-s`: what seccomp(2) calls strict mode, as a filter, since a start-up filter and that mode
  /// exclude each other.
  static func strict() throws(JailError) -> SystemCallFilter {
    guard let architecture = Architecture.current else { throw unknownArchitecture }
    let text = "read: 1\nwrite: 1\nexit: 1\nrt_sigreturn: 1\nsigreturn: 1\n"
    let parser = PolicyParser(architecture: architecture, toleratesUnknownCalls: true) {
      _ throws(ReadFailure) in throw ReadFailure(isMissing: true, reason: "no file")
    }
    guard let policy = try? parser.parse(Array(text.utf8), name: "strict mode") else {
      throw unknownArchitecture
    }
    var filter = try SystemCallFilter(policy: policy, name: "strict mode")
    filter.isStrictMode = true
    return filter
  }

  /// Compiles a policy, `-S`.
  ///
  /// - Parameter name: of the policy's file, for messages.
  /// - Throws: if the policy comes to more than 4096 instructions, the most that the kernel takes.
  public init(
    policy: Policy, name: String, compiler: Compiler = Compiler()
  ) throws(JailError) {
    self.name = name
    do throws(CompileError) {
      program = try compiler.compile(policy)
    } catch {
      // In the order of the reference: the reason, and then the file as a whole.
      throw JailError(
        "failed to compile seccomp filter BPF program in '\(name)'", details: ["\(error)"])
    }
    completion = program
  }

  static var unknownArchitecture: JailError {
    JailError("this machine's system calls are not in the tables")
  }

  /// Reads and compiles a policy file of the running architecture.
  ///
  /// - Parameter read: gives the contents of the file, and of those that it includes.
  static func policy(
    _ file: FilePath, compiler: Compiler,
    read: @escaping (FilePath) throws(ReadFailure) -> [UInt8]
  ) throws(JailError) -> (filter: SystemCallFilter, policy: Policy) {
    guard let architecture = Architecture.current else { throw unknownArchitecture }
    // The parser's paths are text; that of the directory may be none, and is put back here.
    let directory = file.directory
    let shown = directory.description
    let parser = PolicyParser(architecture: architecture, toleratesUnknownCalls: compiler.logs) {
      (path: String) throws(ReadFailure) in
      if path == file.description { return try read(file) }
      let isBelow = !directory.isEmpty && path.utf8.starts(with: shown.utf8)
      return try read(
        isBelow
          ? FilePath(truncating: Array(directory.bytes) + path.utf8.dropFirst(shown.utf8.count))
          : FilePath(truncating: path.utf8))
    }
    let policy: Policy
    do throws(PolicyError) { policy = try parser.parse(file: file.description) } catch {
      let lines = error.lines
      throw JailError(lines.last ?? error.description, details: Array(lines.dropLast()))
    }
    let filter = try SystemCallFilter(policy: policy, name: file.description, compiler: compiler)
    return (filter, policy)
  }
}
