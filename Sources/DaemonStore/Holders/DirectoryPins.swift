import Glibc
import DaemonStoreKernel

/// The users whose processes may work on a user's data: the owner of the home, in each store's part the
/// owner of that store, and root. Any other user is a stranger there, also a member of a store's group.
struct Residents {
  private let owner: uid_t
  /// The owners of each store's folders, by its name.
  private let stores: [FilePath: Set<uid_t>]

  /// - Parameters:
  ///   - owner: of the home.
  ///   - stores: the owners of the folders in the vault.
  init(owner: uid_t, stores: [(name: FilePath, user: uid_t)]) {
    self.owner = owner
    self.stores = Dictionary(grouping: stores, by: \.name).mapValues { Set($0.map(\.user)) }
  }

  /// Whether a user may work on some part.
  func contains(_ user: uid_t) -> Bool {
    user == owner || user == 0 || stores.values.contains { $0.contains(user) }
  }

  /// Whether a user may work on what is at a place.
  func contains(_ user: uid_t, at place: DirectoryPins.Place) -> Bool {
    if user == owner || user == 0 { return true }
    let path: FilePath
    switch place {
    case .below(let shown): path = shown
    case .removed(from: let shown?): path = shown
    // Nobody knows where it was.
    case .removed(from: nil): return contains(user)
    case .emptied: return false
    }
    var names = path.components[...]
    guard names.popFirst() == "root" else { return false }
    if names.first == ".cache" { names.removeFirst() }
    return names.first.flatMap { stores[$0] }?.contains(user) == true
  }

  /// A user who is neither the owner nor root; nil for those.
  func visitor(_ user: uid_t) -> uid_t? { user != owner && user != 0 ? user : nil }
}

/// A directory of a user's data that another user keeps: it cannot be locked as long as something is
/// in it, and is no obstacle when it is empty.
package struct DirectoryPin: Hashable, Sendable, CustomStringConvertible {
  package let keeper: MountNamespace.Keeper
  package let user: uid_t
  package let hold: Holder.Hold

  package var description: String { description(isEmpty: true) }

  /// - Parameter isEmpty: whether all such directories could be emptied.
  package func description(isEmpty: Bool) -> String {
    let what =
      switch hold {
      case .workingDirectory: "as its working directory"
      case .root: "as its root directory"
      case .watch: "by a watch"
      case .mountNamespace(let path): "by a mount at \(path) in its mount namespace"
      case .mount(let path, let kind): "by \(kind) at \(path) in its mount namespace"
      case .sentFile: "by a descriptor that was sent to it"
      default: "by a descriptor"
      }
    return "\(keeper) of user \(user) keeps \(isEmpty ? "an empty" : "a") directory \(what)"
  }
}

/// The directories that strangers keep, as a search finds them.
final class DirectoryPins {
  /// Where a directory is.
  enum Place: Hashable {
    /// Below the vault: `user/public`.
    case below(FilePath)
    /// It was removed: nothing is in it, but it keeps the directory that it was in.
    case removed(from: FilePath?)
    /// A logout has emptied it, moved it out of the vault and removed it: it shows and keeps nothing,
    /// whichever user has it.
    case emptied
  }

  private let residents: Residents
  private let locate: (_ file: FileStatus, _ name: FilePath, _ links: borrowing Directory) -> Place?
  private let rootOfMount: (_ file: FileStatus) -> FilePath?
  private(set) var pins: [DirectoryPin] = []
  private(set) var places: Set<Place> = []
  private var users: [pid_t: uid_t] = [:]
  private var names: [pid_t: ProcessName] = [:]
  /// Where each directory is, so that the ten thousandth descriptor on one costs next to nothing.
  private var located: [FileIdentity: Place] = [:]
  private var isKnown: Set<DirectoryPin> = []

  init(
    _ residents: Residents,
    locate:
      @escaping (
        _ file: FileStatus, _ name: FilePath, _ links: borrowing Directory
      ) -> Place?,
    rootOfMount: @escaping (_ file: FileStatus) -> FilePath?
  ) {
    self.residents = residents
    self.locate = locate
    self.rootOfMount = rootOfMount
  }

  /// Notes whom a process belongs to, before it is looked at: it may be gone when something was found. By
  /// the real id, which a set-user-id program keeps.
  ///
  /// - Parameter directory: that of the process, open: its number may be another's by now.
  /// - Returns: false when it is gone.
  func meet(_ process: pid_t, _ directory: borrowing Directory) throws(SystemError) -> Bool {
    do throws(SystemError) {
      let file = try directory.file("status", flags: O_RDONLY)
      let text = try file.read(atMost: .max, shown: directory.path(of: "status")) ?? []
      guard let user: uid_t = text.field("Uid")?.words.first?.number() else {
        throw SystemError(operation: "read", path: directory.path(of: "status"), code: EIO)
      }
      users[process] = user
      return true
    } catch {
      guard [ENOENT, ESRCH].contains(error.code) else { throw error }
      return false
    }
  }

  /// Takes a file of the user's that a process has, if it is a directory and the process a
  /// stranger's; false when it is a holder as any other.
  func take(
    _ file: FileStatus, _ name: FilePath, _ links: borrowing Directory, of process: pid_t,
    _ hold: Holder.Hold
  ) -> Bool {
    guard file.isDirectory, let user = users[process], let place = place(of: file, name, links),
      place == .emptied
        || residents.visitor(user).map({ !residents.contains($0, at: place) }) == true
    else { return false }
    let keeper = names[process] ?? ProcessName(process)
    names[process] = keeper
    add(.process(keeper), user, hold, at: place)
    if let root = rootOfMount(file) { places.insert(.below(root)) }
    return true
  }

  func add(
    _ keeper: MountNamespace.Keeper, _ user: uid_t, _ hold: Holder.Hold, at place: Place
  ) {
    places.insert(place)
    let pin = DirectoryPin(keeper: keeper, user: user, hold: hold)
    if isKnown.insert(pin).inserted { pins.append(pin) }
  }

  private func place(
    of file: FileStatus, _ name: FilePath, _ links: borrowing Directory
  ) -> Place? {
    if let known = located[file.identity] { return known }
    let place = locate(file, name, links)
    located[file.identity] = place
    return place
  }
}
