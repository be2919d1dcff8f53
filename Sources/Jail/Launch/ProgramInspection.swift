import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel

/// What a loader of the program leaves for the time when it is done, and to whom.
enum LoaderCompletion {
  /// There is no loader, or nothing to do.
  case none
  case tracer(trustsLoader: Bool)
  /// With the filter of system calls, in a file that was made before limits are in force.
  case library(PreloadLibrary, filter: (file: SharedDescriptor, flags: SystemCallFilters.Flags)?)

  var isLater: Bool { if case .none = self { false } else { true } }

  var library: PreloadLibrary? {
    if case .library(let library, _) = self { library } else { nil }
  }
}

/// How the program is started, as its file says inside the jail, where every path means what it
/// means to execve(2).
struct ProgramInspection: Equatable, Sendable {
  /// Who does what waits for the loader.
  enum Completer: Equatable, Sendable {
    /// Without no_new_privs only CAP_SYS_ADMIN may load a filter, and it may be gone later.
    case tracer(refusingUntracedNow: UntracedRefusal?)
    case library(SystemCallFilter?)
  }

  let program: RawArgument
  let completer: Completer
  let clearsAmbient: Bool
  /// What the bounding set will be; nil where it is not limited.
  let bounding: CapabilitySet?
  let isInUserNamespace: Bool

  init(_ configuration: JailConfiguration) {
    program = configuration.program
    completer =
      configuration.usesLibrary
      ? .library(configuration.filter)
      : .tracer(
        refusingUntracedNow: configuration.endsWithNoNewPrivileges ? nil : configuration.untraced)
    clearsAmbient = configuration.clearsAmbientLater
    bounding = configuration.limitsBoundingSet ? configuration.capabilities : nil
    isInUserNamespace = configuration.namespaces.contains(.user)
  }

  enum Kind: Equatable {
    /// No loader of ours runs: the kernel starts it, or refuses it.
    case alone
    case dynamic(ElfFile)
    /// A script whose interpreter is named from the working directory.
    case relativeInterpreter([UInt8])
  }

  /// Follows scripts to their interpreters: execve(2), "Interpreter scripts". What cannot be
  /// opened is left to execve(2), which will say so.
  ///
  /// - Parameters:
  ///   - staysHere: whether the program starts in this working directory.
  ///   - path: becomes the path of the last file that was looked at.
  static func kind(
    of program: RawArgument, staysHere: Bool, path: inout [UInt8]
  ) throws(SystemError) -> Kind? {
    path = program.bytes
    for _ in 0..<6 {
      let number = open(path.map { CChar(bitPattern: $0) } + [0], O_RDONLY | O_CLOEXEC | O_NONBLOCK)
      guard number >= 0 else { return nil }
      let file = SharedDescriptor(Descriptor(owning: number))
      let read = { (offset: UInt64, count: Int) in file.descriptor.bytes(at: offset, count: count) }
      let start = read(0, 256)
      guard start.starts(with: "#!".utf8) else {
        guard let elf = ElfFile(read), elf.loader != nil else { return .alone }
        return .dynamic(elf)
      }
      let line = start.dropFirst(2).prefix { $0 != UInt8(ascii: "\n") }
      let blanks: [UInt8] = [UInt8(ascii: " "), UInt8(ascii: "\t")]
      path = Array(line.drop { blanks.contains($0) }.prefix { !blanks.contains($0) && $0 != 0 })
      if path.first != UInt8(ascii: "/"), !staysHere { return .relativeInterpreter(path) }
    }
    return nil
  }

  /// That the program is for this machine, as the launcher is.
  static func checkMachine(_ elf: ElfFile, _ program: RawArgument) throws(JailError) {
    guard elf.wordSize == ours.wordSize, elf.machine == ours.machine else {
      throw JailError(
        "\(program) is for another machine or word size than minijail0, which could not complete its "
          + "jail; -c needs --ambient, and filters or rules for files need -T static")
    }
  }

  /// That the library can be loaded into the program: it is for the machine and the C library that
  /// it was built for.
  static func checkLoader(_ elf: ElfFile, _ program: RawArgument) throws(JailError) {
    let loader = FilePath(truncating: elf.loader ?? [])
    let name = loader.components.last
    guard elf.wordSize == ours.wordSize, elf.machine == ours.machine, name == ours.loader else {
      throw JailError(
        "\(program) has the loader \(loader), of another C library or word size than "
          + "\(PreloadLibrary.fileName), which could not finish its jail; -c needs "
          + "--ambient, and filters or rules for files need -T static")
    }
  }

  // EM_… of elf.h, and the names of glibc's loaders.
  #if arch(x86_64)
    private static let ours = (
      wordSize: UInt8(2), machine: UInt16(62), loader: "ld-linux-x86-64.so.2" as FilePath
    )
  #elseif arch(arm64)
    private static let ours = (
      wordSize: UInt8(2), machine: UInt16(183), loader: "ld-linux-aarch64.so.1" as FilePath
    )
  #elseif arch(riscv64)
    private static let ours = (
      wordSize: UInt8(2), machine: UInt16(243), loader: "ld-linux-riscv64-lp64d.so.1" as FilePath
    )
  #elseif arch(arm)
    private static let ours = (
      wordSize: UInt8(1), machine: UInt16(40), loader: "ld-linux-armhf.so.3" as FilePath
    )
  #elseif arch(i386)
    private static let ours = (
      wordSize: UInt8(1), machine: UInt16(3), loader: "ld-linux.so.2" as FilePath
    )
  #endif
}

extension ProgramInspection {
  /// Whether a part of the jail waits for a loader after all, and whether that can work.
  ///
  /// - Parameter library: gives the library, where that is the completer.
  func completion(
    _ library: () throws(JailError) -> PreloadLibrary
  ) throws(JailError) -> LoaderCompletion {
    var path: [UInt8] = []
    let staysHere = if case .tracer = completer { true } else { false }
    let kind = try step("look at \(program)") { () throws(SystemError) in
      try Self.kind(of: program, staysHere: staysHere, path: &path)
    }
    let file = RawArgument(bytes: path)
    switch kind {
    case .relativeInterpreter(let path):
      // The program starts in another directory, where that may be anything.
      throw JailError(
        "\(program): its interpreter '\(RawArgument(bytes: path))' must be a full path here")
    case .alone:
      if clearsAmbient {
        throw JailError(
          "\(program) is statically linked, or its interpreter is: capabilities (-c) need --ambient"
        )
      }
      return .none
    case .dynamic(let elf):
      try Self.checkMachine(elf, program)
      try checkCapabilities(of: file)
      switch completer {
      case .tracer(let refusal):
        try refusal?.load()
        return .tracer(trustsLoader: isOfRoot(elf.loader ?? []))
      case .library(let filter):
        try Self.checkLoader(elf, program)
        return try Self.prepare(try library(), filter)
      }
    case nil:
      switch completer {
      case .tracer(let refusal):
        // What it is shows when it is executed, to the tracer alone.
        try refusal?.load()
        return .tracer(trustsLoader: true)
      case .library:
        guard access(file.cString, F_OK) != 0 else {
          throw JailError(
            "\(program): \(file) cannot be read: how it is linked does not show, which "
              + "--jail-by=preload has to know")
        }
        return .none
      }
    }
  }

  private static func prepare(
    _ library: PreloadLibrary, _ filter: SystemCallFilter?
  ) throws(JailError) -> LoaderCompletion {
    try step("preload the library") { () throws(SystemError) in
      try library.rememberWorkingDirectory()
      guard let filter else { return .library(library, filter: nil) }
      let file = try Descriptor(sealing: filter.completion.bytes, name: "seccomp")
      return .library(library, filter: (SharedDescriptor(file), filter.flags))
    }
  }

  /// In a user namespace, which may not map it, root may have no number.
  private func isOfRoot(_ loader: [UInt8]) -> Bool {
    var status = stat()
    guard stat(RawArgument(bytes: loader).cString, &status) == 0 else { return false }
    return status.st_uid == 0 || isInUserNamespace && status.st_uid == 65534  // overflowuid
  }

  /// The kernel refuses a file whose effective capabilities are not in the bounding set.
  private func checkCapabilities(of file: RawArgument) throws(JailError) {
    guard let bounding else { return }
    var permitted: UInt64 = 0
    var isEffective: CInt = 0
    let path = file.cString
    try step("look at the capabilities of \(file)") { () throws(SystemError) in
      try check(
        "getxattr", "security.capability", linux_file_capabilities(path, &permitted, &isEffective))
    }
    let missing = CapabilitySet(rawValue: permitted).subtracting(bounding)
    guard isEffective != 0, !missing.isEmpty else { return }
    let names = missing.names.joined(separator: ",")
    throw JailError(
      "\(file) has file capabilities that -c does not include, so that the kernel would not execute "
        + "it: add \(names) to -c, or take them from the file (setcap -r)")
  }
}
