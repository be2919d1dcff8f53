@testable import DaemonStoreAccounts
@testable import Cryptohome
@testable import DaemonStore
@testable import DaemonStoreKernel
@testable import cryptohomed

/// A name of a template or a user: what is accepted is safe as a component of a path, and the same
/// from bytes as from text.
func fuzzNames(_ bytes: [UInt8]) {
  let store = StoreName(bytes)
  let hash = ObfuscatedUsername(bytes)
  if let store {
    precondition(("\(store.description)" as FilePath).isName && store.description.utf8.count <= 255)
    precondition(Array(store.description.utf8) == bytes && bytes.first != UInt8(ascii: "."))
  }
  if let hash { precondition(Array(hash.description.utf8) == bytes && bytes.count == 40) }
  guard let text = String(validating: bytes, as: UTF8.self) else {
    precondition(store == nil && hash == nil)
    return
  }
  precondition(StoreName(text) == store && ObfuscatedUsername(text) == hash)
  if let name = FilePath(bytes) {
    if let user = try? Username(name), case .hash(let other) = user { precondition(other == hash) }
    if SystemUsers.isName(name) { precondition(name.isName) }
  }
  precondition(!shownBytes(bytes).unicodeScalars.contains { $0.value < 0x20 })
}

/// vault.json.
func fuzzVault(_ bytes: [UInt8]) {
  let user = "d09e6ca23c64d738ac3a6de2615bf8b654346632"
  guard let file = try? VaultFile(bytes, path: "vault.json", in: "/home/.shadow/\(user)") else {
    return
  }
  precondition(file.slots.count <= VaultFile.slotLimit)
  precondition(file.kind != .fscrypt || !file.slots.isEmpty)
}

/// The name of a file of a session: one text for each session, and for each leader.
func fuzzSession(_ bytes: [UInt8]) {
  guard let name = FilePath(bytes) else { return }
  if let session = SessionRecord(name) {
    precondition(Array(session.description.utf8) == bytes && session.leader.process > 0)
  }
  guard let leader = SessionLeader(name) else { return }
  precondition(Array(leader.description.utf8) == bytes && leader.process > 0)
}

/// The messages inside calls of `org.chromium.UserDataAuth`.
func fuzzRequest(_ bytes: [UInt8]) {
  guard let kind = bytes.first else { return }
  let message = Array(bytes.dropFirst())
  switch kind % 3 {
  case 0: _ = try? UserDataAuth_IsMountedRequest(serializedBytes: message)
  case 1: _ = try? UserDataAuth_GetSanitizedUsernameRequest(serializedBytes: message)
  default: _ = try? UserDataAuth_UnmountRequest(serializedBytes: message)
  }
}
