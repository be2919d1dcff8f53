import CDaemonStore
import Glibc

/// A question that failed, and the path, store or user that it was about.
public struct StoreClientError: Error, Equatable, Sendable, CustomStringConvertible {
  /// An `errno`, with the meanings that daemonstore.h gives.
  public let code: CInt
  /// A path, the name of a store, or `STORE of USER`.
  public let subject: String

  package init(code: CInt, subject: String) {
    self.code = code
    self.subject = subject
  }

  /// The subject and the meaning of the code, in one line of English.
  public var description: String {
    "\(subject): \(String(cString: daemonstore_strerror(code)))"
  }
}

/// A store: the directory that the folders of users are mounted in. A value of this type says
/// nothing about whether the store exists.
public struct StoreDirectory: Equatable, Sendable {
  /// The absolute path: `/run/daemon-store/D`, or `/run/daemon-store-cache/D` for the cache store.
  public let path: String

  /// Makes the path of a store, and looks at no file.
  ///
  /// - Parameters:
  ///   - store: the name of its template.
  ///   - cache: whether the cache store is meant, for what may be lost.
  /// - Throws: `EINVAL` if `store` cannot be the name of a store.
  public init(_ store: String, cache: Bool = false) throws(StoreClientError) {
    path = try makePath(store, user: nil, cache: cache)
  }

  /// A store that is shown elsewhere, as in some containers. The path is not checked.
  public init(path: String) { self.path = path }
}

/// The folder of one user in a store. It is there only while the user is logged in: a value of this
/// type says nothing about whether it is mounted.
public struct UserFolder: Equatable, Sendable {
  /// The absolute path, `/run/daemon-store/D/H`. Replacement characters stand for what is not
  /// UTF-8.
  public let path: String
  /// The bytes, which are looked up.
  private let cString: [CChar]

  /// Makes the path of a user's folder, and does not look whether it is mounted.
  ///
  /// - Parameters:
  ///   - user: the hash of 40 lower-case hexadecimal digits, or a name, which needs the system's
  ///     salt.
  ///   - store: the name of its template.
  ///   - cache: whether the folder in the cache store is meant, for what may be lost.
  /// - Throws: `EINVAL` if a name is not valid; for the name of a user `ENODATA` without a salt,
  ///   and `EACCES` if this process may not know the salt.
  public init(
    of user: String, in store: String, cache: Bool = false
  ) throws(StoreClientError) {
    self.init(path: try makePath(store, user: user, cache: cache))
  }

  /// A folder that is shown elsewhere, as in some containers. The path is not checked.
  public init(path: String) {
    self.path = path
    cString = Array(path.utf8CString)
  }

  /// The same for a path that need not be UTF-8, with the NUL that ends it.
  package init(cString: [CChar]) {
    path = String(decoding: cString.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
    self.cString = cString.contains(0) ? cString : cString + [0]
  }

  /// Whether something is mounted at the path now: one statx(2) (Linux 5.8). A directory that is
  /// not a mount point is no user's folder.
  ///
  /// - Throws: the `errno` of statx(2), but for a path that does not exist; `EINVAL` for one with a
  ///   NUL.
  public func isMounted() throws(StoreClientError) -> Bool {
    try ask(path, cString) { daemonstore_is_mounted($0) } == 1
  }

  /// Waits until the folder is mounted, without polling: true, at once if it is.
  ///
  /// - Parameter timeout: rounded up to milliseconds, and at most 24 days; nil waits for ever.
  /// - Returns: false when `timeout` has passed.
  /// - Throws: `EINTR` when a signal was caught, `ENOENT` without the store, `ENOTSUP` without a
  ///   `/proc` for this process's pid namespace.
  public func wait(for timeout: Duration? = nil) throws(StoreClientError) -> Bool {
    try ask(path, cString) { daemonstore_wait($0, milliseconds(timeout)) } == 1
  }

  /// Waits until the folder is not mounted any more, as ``wait(for:)`` waits for the opposite.
  public func waitUntilGone(for timeout: Duration? = nil) throws(StoreClientError) -> Bool {
    try ask(path, cString) { daemonstore_wait_gone($0, milliseconds(timeout)) } == 1
  }
}

/// Who comes and goes in one store, in the mount namespace of the thread that made this. For one
/// thread at a time.
public struct StoreWatch: ~Copyable {
  /// A change of one folder, with the hash of its user: 40 lower-case hexadecimal digits.
  public enum Event: Equatable, Sendable {
    /// The folder is mounted: the user has logged in.
    case arrived(String)
    /// The folder is not mounted any more.
    case left(String)
  }

  private let watch: OpaquePointer
  private let path: String

  /// Begins to watch; the descriptor is closed with this value.
  ///
  /// - Throws: `ENOENT` without the store, `ENOTSUP` without a `/proc` for this process's pid
  ///   namespace, and `EACCES` for a process that is neither root nor in the group of the store's
  ///   template.
  public init(_ store: StoreDirectory) throws(StoreClientError) {
    guard !store.path.utf8.contains(0), let watch = daemonstore_watch_new(store.path) else {
      throw StoreClientError(
        code: store.path.utf8.contains(0) ? EINVAL : errno, subject: store.path)
    }
    self.watch = watch
    path = store.path
  }

  deinit { daemonstore_watch_free(watch) }

  /// For poll(2) and epoll(7): readable when there may be events. It says so once for each change,
  /// so when it is, take events until there are none. It is closed with this value.
  public var descriptor: CInt { daemonstore_watch_fd(watch) }

  /// Takes the next event; nil when there is none for now. The first events are the arrivals of the
  /// users who are there already. A user who leaves and comes back between two calls is two events
  /// (Linux 6.8; before, possibly none).
  ///
  /// - Throws: the `errno` of a system call; the watch can be used again.
  public mutating func next() throws(StoreClientError) -> Event? {
    var event = daemonstore_event()
    switch daemonstore_watch_next(watch, &event) {
    case 0: return nil
    case 1:
      let user = withUnsafeBytes(of: event.user) { bytes in
        String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
      }
      return event.arrived == 1 ? .arrived(user) : .left(user)
    default: throw StoreClientError(code: errno, subject: path)
    }
  }

  /// Waits for the next event, and takes it.
  ///
  /// - Parameter timeout: rounded up to milliseconds; nil waits for ever.
  /// - Returns: nil when `timeout` has passed.
  /// - Throws: `EINTR` when a signal was caught, else as ``next()``.
  public mutating func next(
    waiting timeout: Duration?
  ) throws(StoreClientError) -> Event? {
    let end = timeout.map { ContinuousClock.now + $0 }
    while true {
      if let event = try next() { return event }
      let left = end.map { ContinuousClock.now.duration(to: $0) }
      if let left, left <= .zero { return nil }
      var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
      guard poll(&entry, 1, milliseconds(left)) >= 0 else {
        throw StoreClientError(code: errno, subject: path)
      }
    }
  }
}

private func makePath(
  _ store: String, user: String?, cache: Bool
) throws(StoreClientError) -> String {
  let subject = user.map { "\(store) of \($0)" } ?? store
  guard !subject.utf8.contains(0) else { throw StoreClientError(code: EINVAL, subject: subject) }
  var path = [CChar](repeating: 0, count: Int(DAEMONSTORE_PATH_SIZE))
  let tree = cache ? DAEMONSTORE_CACHE : DAEMONSTORE_DATA
  guard daemonstore_path(tree, store, user, &path, path.count) == 0 else {
    throw StoreClientError(code: errno, subject: subject)
  }
  return String(decoding: path.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
}

/// Asks C something about a path; a zero byte would end it early there.
private func ask(
  _ path: String, _ cString: [CChar], _ call: (UnsafePointer<CChar>) -> CInt
) throws(StoreClientError) -> CInt {
  guard !path.utf8.contains(0) else { throw StoreClientError(code: EINVAL, subject: path) }
  let (answer, code) = (call(cString), errno)
  guard answer >= 0 else { throw StoreClientError(code: code, subject: path) }
  return answer
}

/// As poll(2) takes it, rounded up: -1 for ever, and at most 24 days.
private func milliseconds(_ timeout: Duration?) -> CInt {
  guard let timeout else { return -1 }
  guard timeout > .zero else { return 0 }
  let (seconds, attoseconds) = timeout.components
  guard seconds < 2_000_000 else { return .max }
  return CInt(seconds * 1000 + (attoseconds + 999_999_999_999_999) / 1_000_000_000_000_000)
}
