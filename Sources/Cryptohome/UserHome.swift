import DaemonStore
import DaemonStoreKernel
import Glibc

/// A user's directory `/home/.shadow/H`, opened and read once for an operation: which vault is there,
/// and what its file says. What changes later is not seen here. ``LockedHome`` has one that was read
/// under the user's lock, when no other process changes it.
///
/// What cannot be opened or read is an error of the property that is asked for: a logout goes on with
/// what it knows.
package final class UserHome {
  package let user: ObfuscatedUsername
  package let layout: Layout
  private let found: Found

  package init(of user: ObfuscatedUsername, in layout: Layout) {
    self.user = user
    self.layout = layout
    do {
      found = try Found(user, layout)
    } catch {
      found = Found(failed: error)
    }
  }

  /// `…/H`.
  var path: FilePath { "\(layout.shadow)/\(user)" }

  /// `/home/.shadow`, for looking and for taking away; nil when there is none.
  var shadow: OpenDirectory? { found.shadow }

  /// The same as it is now: an operation may have made it.
  func shadowNow() throws(SystemError) -> OpenDirectory? {
    if let shadow { return shadow }
    guard let made = try UserDirectory.shadow(layout) else { return nil }
    return OpenDirectory(made)
  }

  /// The directory. nil where there is none, and while an ephemeral vault is mounted on it, which an
  /// open descriptor would keep from being unmounted.
  var place: OpenDirectory? { found.place }

  /// The kind of vault that is there to be unmounted, whether or not this version could open it.
  package var present: VaultKind? { get throws { try found.present.get() } }

  /// The kind of vault that the user has, from the disk and the kernel alone; nil for none.
  ///
  /// - Throws: ``Refusal`` for a vault that this version cannot open.
  package var kind: VaultKind? { get throws { try found.kind.get() } }

  /// What vault.json says; nil when there is none. It can be that of another vault than the one
  /// beside it: ``kind`` throws then.
  var record: VaultFile? { get throws { try found.record.get() } }

  /// The same, without the reason why it cannot be read: for a message, or a logout.
  var readableRecord: VaultFile? { (try? record) ?? nil }

  /// The uid that the vault is recorded for; nil where the record cannot be read: then no user counts as
  /// another one.
  var recordedOwner: uid_t? { readableRecord?.identity?.account.user }

  /// Why the vault cannot be opened, in words: it is damaged, or of another user.
  var problem: String? {
    do {
      _ = try kind
      return nil
    } catch {
      return "\(error)"
    }
  }

  /// What the directory `mount` is encrypted with; nil where it is not.
  var policy: EncryptionPolicy? { get throws { try found.policy.get() } }

  /// The record of an encrypted vault, which agrees with the directory beside it.
  ///
  /// - Throws: ``Refusal`` for any other vault.
  func encryptedRecord() throws -> VaultFile {
    guard try kind == .fscrypt, let record = try self.record else {
      throw Refusal(path: path, reason: "is no encrypted vault")
    }
    return record
  }

  /// Whether the vault's key slots are gone because of a removal.
  var isRemovalBegun: Bool {
    get throws {
      guard let place else { return false }
      return try VaultRemoval.hasBegun(in: place.directory, found.record)
    }
  }

  /// Whether anything of the user is mounted.
  var isMounted: Bool {
    get throws { try UserMounts(.current(), layout).isMounted(user) }
  }

  /// Whether a user has an ephemeral vault, without a look into it.
  package static func isEphemeral(_ user: ObfuscatedUsername, in layout: Layout) throws -> Bool {
    guard let status = try UserDirectory.shadow(layout)?.status(of: user.path) else { return false }
    return try status.isMountRoot && EphemeralVault.isMounted(status)
  }
}

/// A directory that several values have open.
final class OpenDirectory {
  let directory: Directory
  init(_ directory: consuming Directory) { self.directory = directory }
}

/// What was found when a home was opened.
private struct Found {
  var shadow: OpenDirectory?
  var place: OpenDirectory?
  var present: Result<VaultKind?, any Error> = .success(nil)
  var kind: Result<VaultKind?, any Error> = .success(nil)
  var record: Result<VaultFile?, any Error> = .success(nil)
  var policy: Result<EncryptionPolicy?, any Error> = .success(nil)

  init(failed error: any Error) {
    present = .failure(error)
    kind = .failure(error)
    record = .failure(error)
    policy = .failure(error)
  }

  /// - Throws: when the directory cannot be opened.
  init(_ user: ObfuscatedUsername, _ layout: Layout) throws {
    guard let opened = try UserDirectory.shadow(layout) else { return }
    let shadow = OpenDirectory(opened)
    self.shadow = shadow
    guard let status = try shadow.directory.status(of: user.path) else { return }
    guard status.isDirectory else {
      kind = .failure(
        Refusal(
          path: shadow.directory.path(of: user.path),
          reason: "is \(status.kind), not a user's directory; move it away"))
      return
    }
    if try status.isMountRoot && EphemeralVault.isMounted(status) {
      kind = .success(.ephemeral)
      let isWhole = try shadow.directory.status(of: "\(user)/mount") != nil
      present = .success(isWhole ? .ephemeral : nil)
      return
    }
    let place = OpenDirectory(try shadow.directory.directory(user.path))
    self.place = place
    try read(place.directory, of: user, layout)
  }

  private mutating func read(
    _ home: borrowing Directory, of user: ObfuscatedUsername, _ layout: Layout
  ) throws {
    let mount = try home.status(of: "mount")
    let isEncrypted = mount?.isEncrypted == true
    present = .success(mount == nil ? nil : isEncrypted ? .fscrypt : .plain)
    do {
      record = .success(try VaultFile.read(in: home))
    } catch {
      record = .failure(error)
    }
    do {
      policy = .success(try isEncrypted ? FscryptVault.policy(in: home) : nil)
    } catch {
      policy = .failure(error)
    }
    do {
      kind = .success(try openableKind(home, of: user, layout))
    } catch {
      kind = .failure(error)
    }
  }

  private func openableKind(
    _ home: borrowing Directory, of user: ObfuscatedUsername, _ layout: Layout
  ) throws -> VaultKind? {
    if try VaultRemoval.hasBegun(in: home, record) {
      throw Refusal(
        path: home.path,
        reason: "is a vault whose removal was interrupted; finish it with: cryptohome remove "
          + "\(user)")
    }
    let record = try self.record.get()
    let present = try self.present.get()
    // Never anything in clear in the place of what is encrypted, or was.
    if present == .fscrypt || record?.kind == .fscrypt {
      try FscryptVault.requireRecord(record, of: policy.get(), in: home)
      return .fscrypt
    }
    if present == nil && record == nil { return nil }
    try VaultRegister.requireNone(of: user, layout, present: true)
    return .plain
  }
}

/// A user's home under the user's lock. Only this value mounts, unmounts and changes keys.
package struct LockedHome: ~Copyable {
  private let lock: UserLock
  /// As it is under the lock.
  package let home: UserHome

  /// - Parameter deadline: when to give up waiting for another login or logout of the user; nil for
  ///   ``LockTimeout/login`` from now.
  package init(
    of user: ObfuscatedUsername, in layout: Layout, until deadline: ContinuousClock.Instant? = nil
  ) throws {
    lock = try UserLock(of: user, in: layout, until: deadline)
    home = UserHome(of: user, in: layout)
  }

  package var user: ObfuscatedUsername { home.user }
  package var layout: Layout { home.layout }

  /// Gives the vault another vault.json.
  func write(_ file: VaultFile) throws {
    guard let place = home.place else {
      throw SystemError(operation: "open", path: home.path, code: ENOENT)
    }
    try file.write(in: place.directory)
  }
}
