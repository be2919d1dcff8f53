import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel

/// `libminijailpreload.so`: what of a jail must wait for the dynamic loader is done by it, inside
/// the program, before `main`.
///
/// It is found in any root and without `/proc`: the program starts in a directory that no path
/// leads to, a detached copy of the mount that the library is on, and `LD_PRELOAD` names it from
/// there. The library goes back to the real working directory.
final class PreloadLibrary {
  static let fileName = "libminijailpreload.so"
  private static let noExecution: UInt = 8  // ST_NOEXEC, which libc shows to GNU programs only
  private static let ordersVariable = "__MINIJAIL_FD"

  /// What is preloaded: from ``directory``, or an absolute path.
  private let name: FilePath
  /// The root of the detached mount; nil for a caller who may not make one, and whose root stays.
  private let directory: SharedDescriptor?
  /// The program's own, while the directory of the library stands in for it.
  private var workingDirectory: SharedDescriptor?

  /// The path of the library: what `--preload-library` says, or beside the launcher.
  static func locate(_ configuration: JailConfiguration) throws(JailError) -> FilePath {
    if let path = configuration.preloadLibrary {
      let file = try step("--preload-library") { () throws(SystemError) in
        try Descriptor(followingLinks: path, flags: O_RDONLY | O_NONBLOCK)
          .read(atMost: 1 << 20, shown: path) ?? []
      }
      // Another library would leave the jail incomplete, and nobody would know before the end.
      let isOurs = file.withUnsafeBytes { linux_contains($0.baseAddress, $0.count, ordersVariable) }
      guard isOurs != 0 else {
        throw JailError("--preload-library \(path): it is not a \(fileName)")
      }
      return path
    }
    var places: [FilePath] = []
    if let bin = programDirectory() {
      places = ["\(bin.directory)lib/daemon-store/\(fileName)", "\(bin)/\(fileName)"]
    }
    places += ["/usr/lib", "/usr/local/lib"].map { "\($0)/daemon-store/\(fileName)" }
    for path in places where access(path.cString, R_OK) == 0 { return path }
    throw JailError(
      "\(fileName) is missing (looked for \(places.map(\.description).joined(separator: ", "))): a dynamic program "
        + "needs it here; reinstall, name it with --preload-library, or use --ambient with -c")
  }

  /// - Parameter mayStayInPlace: whether the library's path is the same for the program.
  init(_ given: FilePath, mayStayInPlace: Bool) throws(JailError) {
    var path = given
    if let real = realpath(given.cString, nil) {
      path = FilePath(cString: real)
      free(real)
    }
    let parent = path.directory.isEmpty ? "." : path.directory
    let file = path.components.last ?? ""
    guard !file.bytes.contains(where: { " :\t\n".utf8.contains($0) }) else {
      throw JailError("\(path): LD_PRELOAD(8) cannot name it: there is a blank or a colon in it")
    }
    do throws(SystemError) {
      let place = try Descriptor(followingLinks: parent, flags: LINUX_O_PATH | O_DIRECTORY)
      let copy = try DetachedMount(cloning: place, shown: parent)
      directory = SharedDescriptor(copy.intoDescriptor())
      name = "./\(file)"
    } catch {
      guard mayStayInPlace, error.code == EPERM, path.isAbsolute else {
        throw JailError("open \(path) for the program", error)
      }
      directory = nil
      name = path
    }
  }

  /// That the loader can map it, for whom this process is by now. A loader that cannot goes on
  /// without it.
  private func check() throws(JailError) {
    let place = directory?.descriptor.number ?? AT_FDCWD
    var status = statvfs()
    let found = directory == nil ? statvfs(name.cString, &status) : fstatvfs(place, &status)
    guard faccessat(place, name.cString, R_OK, 0) == 0, found == 0 else {
      throw JailError(
        "\(Self.fileName) cannot be read by the program's user: "
          + String(cString: strerror(errno)))
    }
    guard status.f_flag & Self.noExecution == 0 else {
      throw JailError("\(Self.fileName) is on a file system that is mounted noexec")
    }
  }

  /// Opens what ``prepare(_:report:orders:)`` needs, before limits are in force.
  func rememberWorkingDirectory() throws(SystemError) {
    guard directory != nil else { return }
    workingDirectory = SharedDescriptor(
      try Descriptor(followingLinks: ".", flags: LINUX_O_PATH | O_DIRECTORY))
  }

  /// Makes the program find the library, and the library what is left to do. The working directory
  /// is another one afterwards, so that `program` must be absolute.
  ///
  /// - Parameter orders: for the library, beside those that it always gets.
  /// - Returns: the environment of the program.
  func prepare(
    _ environment: [RawArgument], report: borrowing Descriptor, orders: String, log: Log
  ) throws(JailError) -> [RawArgument] {
    try check()
    let key = Array("LD_PRELOAD=".utf8)
    let given = environment.first { $0.bytes.starts(with: key) }
    let before = try given.map { (entry) throws(JailError) in
      key + (try Self.absolute(entry.bytes.dropFirst(key.count))) + [UInt8(ascii: " ")]
    }
    var orders = orders
    try step("preload the library") { () throws(SystemError) in
      orders += "r\(try inherited(report))"
      guard let directory, var back = workingDirectory else { return }
      if fchdir(back.descriptor.number) != 0 {
        log.warning(
          "the program's user may not enter the working directory: the program starts in /")
        back = SharedDescriptor(
          try Descriptor(followingLinks: "/", flags: LINUX_O_PATH | O_DIRECTORY))
        workingDirectory = back
      }
      orders += "w\(try inherited(back.descriptor))"
      try changeDirectory(to: directory.descriptor, shown: "the library's directory")
    }
    let own = Array("\(Self.ordersVariable)=".utf8)
    var result = environment.filter {
      !$0.bytes.starts(with: key) && !$0.bytes.starts(with: own)
    }
    result.append(RawArgument(bytes: (before ?? key) + name.bytes))
    result.append(RawArgument("\(Self.ordersVariable)=\(orders)"))
    return result
  }

  /// The caller's own libraries, relative ones by their full paths: the loader starts elsewhere.
  private static func absolute(_ list: ArraySlice<UInt8>) throws(JailError) -> [UInt8] {
    let slash = UInt8(ascii: "/")
    var words: [[UInt8]] = []
    for word in list.split(whereSeparator: { " :".utf8.contains($0) }) {
      let isRelative = word.contains(slash) && word.first != slash
      words.append(isRelative ? try absolutePath(Array(word)) : Array(word))
    }
    return Array(words.joined(separator: [UInt8(ascii: " ")]))
  }

  /// The descriptors that it needs at execve(2).
  var descriptors: [CInt] {
    [directory, workingDirectory].compactMap { $0?.descriptor.number }
  }

  /// No path leads to the directory, so that no rule for a path can allow it.
  func allow(in ruleset: borrowing FileRuleset) throws(SystemError) {
    guard let directory else { return }
    try ruleset.allow([.readFile, .execute], at: directory.descriptor, shown: name)
  }
}

/// Makes the program inherit a descriptor, and says its number.
func inherited(_ descriptor: borrowing Descriptor) throws(SystemError) -> CInt {
  try check("fcntl", nil, fcntl(descriptor.number, F_SETFD, 0))
  return descriptor.number
}
