import DaemonStoreKernel

extension Layout {
  /// The mount namespaces that show data of these users, who are logged out: somebody has kept a copy
  /// of a mount, and nobody may be in there any more.
  package func pinnedData(of users: [ObfuscatedUsername]) throws -> [Finding] {
    let subtrees = try users.map { try UserSubtree(of: $0, in: self, mountsAlone: true) }.filter {
      !$0.needles.isEmpty
    }
    guard !subtrees.isEmpty else { return [] }
    let unknowns = Unknowns()
    let namespaces = try MountNamespace.all(
      containing: Set(subtrees.flatMap(\.needles)).sorted(), unknowns)
    return unknowns.findings
      + subtrees.flatMap { subtree in
        subtree.views(in: namespaces).compactMap { view -> Finding? in
          let paths = (view.shown.map(\.mount) + view.overlays).map(\.target)
          guard !view.isOwn, !paths.isEmpty else { return nil }
          return Finding(
            .pinnedData, "the mount namespace of \(view.keeper)",
            "shows data of user \(subtree.user), who is logged out",
            evidence: paths.map { "mounted at \($0)" }, fix: view.keeper.fix)
        }
      }
  }
}

extension MountNamespace.Keeper {
  /// The command that ends the namespace.
  var fix: String {
    switch self {
    case .process(let process):
      process.unit.map { "systemctl stop \($0)" } ?? "kill \(process.pid)"
    case .file(let path, nil): "umount \(shellWord(path))"
    case .file(let path, .process(let process)?):
      "nsenter --target \(process.pid) --mount umount \(shellWord(path))"
    case .file(let path, let keeper?):
      "umount \(shellWord(path))  # in the mount namespace of \(keeper)"
    }
  }
}

extension Unknowns {
  /// What a doctor says of a search that has not seen everything.
  var findings: [Finding] {
    isEmpty
      ? []
      : [
        Finding(
          .unseen, "the mounts of other namespaces", "could not all be looked at",
          evidence: holders.map(\.description), fix: "daemon-store doctor  # again")
      ]
  }
}
