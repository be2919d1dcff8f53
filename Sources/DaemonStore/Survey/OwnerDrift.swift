import Glibc
import DaemonStoreKernel

extension StoreSurvey {
  /// The folders of the users who are mounted that hold files the store's daemon may not own: it got
  /// another user id since, or somebody else has written there. Looks at every file.
  package func ownerDrift() -> [Finding] {
    stores.flatMap { store -> [Finding] in
      guard let template = store.template else { return [] }
      return store.users.compactMap { user in
        store.drift(of: user, from: template)
      }
    }
  }
}

extension Template {
  /// Whether a file in a user's folder may belong to this owner. Where the group may write, its
  /// members' files are theirs.
  func mayHold(owner: uid_t, group: gid_t) -> Bool {
    owner == self.owner || permissions & 0o020 != 0 && group == self.group
  }
}

extension SurveyedStore {
  fileprivate func drift(of user: ObfuscatedUsername, from template: Template) -> Finding? {
    let path: FilePath = "\(self.path)/\(user)"
    guard let folder = try? Directory(opening: path), let status = try? folder.status() else {
      return nil  // logged out meanwhile
    }
    guard
      (status.owner, status.group, status.permissions)
        == (template.owner, template.group, template.permissions)
    else {
      return Finding(
        .ownerDrift, path,
        "belongs to \(status.owner):\(status.group), mode \(octal(status.permissions)), and not to "
          + "\(template.owner):\(template.group), mode \(octal(template.permissions)), as the "
          + "template says",
        evidence: ["a login gives it that owner and mode, also of who is mounted"],
        fix: "cryptohome mount \(user)")
    }
    var drifted: [(path: FilePath, owner: uid_t)] = []
    var count = 0
    let isComplete = folder.forEachFile { name, file in
      guard !template.mayHold(owner: file.owner, group: file.group) else { return }
      count += 1
      // One of each owner is shown, of the first few.
      if drifted.count < 4, !drifted.contains(where: { $0.owner == file.owner }) {
        drifted.append((name, file.owner))
      }
    }
    guard count > 0 else {
      return isComplete
        ? nil
        : Finding(
          .unseen, path, "could not be looked at as a whole",
          evidence: ["something in it cannot be opened, or lies too deep"],
          fix: "ls -lR \(shellWord(path))")
    }
    let owners = drifted.map { "--from=\($0.owner) " }
    return Finding(
      .ownerDrift, path,
      "holds \(count == 1 ? "a file" : "\(count) files") that \(count == 1 ? "does" : "do") not "
        + "belong to user \(template.owner), as the template says",
      evidence: drifted.map { "\($0.path) belongs to user \($0.owner)" },
      fix: owners.map {
        "chown -hR \($0)\(template.owner):\(template.group) \(shellWord(path))"
      }.joined(separator: " && "))
  }
}
