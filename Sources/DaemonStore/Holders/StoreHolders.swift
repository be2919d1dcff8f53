import Glibc
import DaemonStoreKernel

/// A holder of a store, or of a user's folder in it.
package struct StoreHolding: Sendable {
  /// nil for the store itself.
  package let user: ObfuscatedUsername?
  package let holder: Holder

  init(user: ObfuscatedUsername?, holder: Holder) {
    self.user = user
    self.holder = holder
  }
}

extension Layout {
  /// Who holds a store, and the folders in it: processes, by the files themselves, private copies in
  /// all mount namespaces, other mounts of the same data here, and loop devices.
  ///
  /// A logout waits meanwhile: this holds the folders that it looks for.
  ///
  /// - Parameter user: whose folder alone counts; nil for the store and all folders.
  package func holders(of store: StoreName, user: ObfuscatedUsername?) throws -> [StoreHolding] {
    let survey = try StoreSurvey(of: self).stores.filter { $0.name == store }
    guard survey.contains(where: { $0.directory != nil }) else {
      throw Refusal(
        path: path(of: store, in: .data), reason: "there is no such store; see daemon-store status")
    }
    var holdings: [StoreHolding] = []
    if user == nil {
      holdings += try holders(of: survey).map { StoreHolding(user: nil, holder: $0) }
    }
    let mounted = user.map { [$0] } ?? Set(survey.flatMap(\.users)).sorted()
    // Of a user who was logged out by force, files can be open still.
    let users = try user.map { [$0] } ?? Set(mounted).union(usersWithVault()).sorted()
    return try holdings
      + locked(mounted[...], until: .now + .seconds(1)) { try holders(of: users, in: store) }
  }

  /// Those who have a directory for a vault.
  private func usersWithVault() throws(SystemError) -> [ObfuscatedUsername] {
    do {
      return try Directory(opening: "\(shadow)").names().compactMap { ObfuscatedUsername($0) }
    } catch  where error.code == ENOENT {
      return []
    }
  }

  /// Runs `body` while these users' locks are held; a lock that another command holds for longer is not waited for.
  private func locked<Value>(
    _ users: ArraySlice<ObfuscatedUsername>, until deadline: ContinuousClock.Instant,
    _ body: () throws -> Value
  ) throws -> Value {
    guard let user = users.first else { return try body() }
    var outcome: Result<Value, any Error>?
    func goOn() {
      outcome = Result { try locked(users.dropFirst(), until: deadline, body) }
    }
    do {
      try DaemonStore.locked(user, self, until: deadline) { goOn() }
    } catch  where outcome == nil {
      goOn()
    }
    guard let outcome else { return try body() }
    return try outcome.get()
  }

  private func holders(of store: [SurveyedStore]) throws -> [Holder] {
    let identities = Set(store.compactMap(\.directory?.identity))
    var search = HolderSearch { file, _, _ in identities.contains(file.identity) }
    return try search.processes()
      + store.flatMap(\.views).filter { !$0.role.receives }
      .map { Holder(keeper: $0.keeper, hold: .mountNamespace($0.path)) }
  }

  /// All namespaces are looked at once, and all processes once, and again for each folder that
  /// is in use: few are, as a rule.
  private func holders(
    of users: [ObfuscatedUsername], in store: StoreName
  ) throws -> [StoreHolding] {
    let folders = try users.map { try UserSubtree(of: $0, in: store, self) }
    let lost = Unknowns()
    let found = try Inspection.run(.files, keeping: folders.flatMap(\.descriptors), lost) {
      try holders(of: folders, in: store)
    }
    // What was not looked at may hold any.
    return (found ?? [])
      + folders.flatMap { folder in
        lost.holders.map { StoreHolding(user: folder.user, holder: $0) }
      }
  }

  /// The search itself: for an inspecting process.
  private func holders(of folders: [UserSubtree], in store: StoreName) throws -> [StoreHolding] {
    let unknowns = Unknowns()
    let namespaces = try MountNamespace.all(
      containing: Set(folders.flatMap(\.needles)).sorted(), unknowns)
    let views = folders.map { $0.views(in: namespaces) }
    var used: Set<ObfuscatedUsername> = []
    var search = HolderSearch(
      for: { file, link, process in
        for folder in folders where !used.contains(folder.user) {
          if folder.contains(file, link, in: process) { used.insert(folder.user) }
        }
        return false
      })
    // Who cannot be looked at may hold any.
    let uncertain = try search.processes() + unknowns.holders
    return try zip(folders, views).flatMap { folder, views in
      let places = StoreTree.allCases.map {
        "\(path(of: folder.user, in: store, $0))" as FilePath
      }
      var processes = uncertain
      if used.contains(folder.user) {
        var search = HolderSearch(for: folder.contains, mayBeOn: folder.mayBeOn)
        processes = try search.processes() + unknowns.holders
      }
      return (processes + folder.mounts(in: views, besides: Set(places)) + folder.loopDevices())
        .map { StoreHolding(user: folder.user, holder: $0) }
    }
  }
}

extension UserSubtree {
  /// The mounts of it that are neither where it is to be, nor followers of those.
  ///
  /// - Parameter places: where it is to be mounted, in our namespace.
  fileprivate func mounts(in views: [NamespaceView], besides places: Set<FilePath>) -> [Holder] {
    let groups = Set(
      views.filter(\.isOwn).flatMap(\.shown).filter { places.contains($0.mount.target) }
        .compactMap { $0.parent?.peerGroup })
    return views.flatMap { view -> [Holder] in
      let keeper = view.isOwn ? nil : view.keeper
      if view.isClosed { return [Holder(keeper: keeper, hold: .closedNamespace)] }
      let copies = view.shown.filter {
        view.isOwn ? !places.contains($0.mount.target) : !$0.follows(groups)
      }
      return view.overlays.map { Holder(keeper: keeper, hold: .mount($0)) }
        + copies.map {
          Holder(
            keeper: keeper,
            hold: view.isOwn
              ? .mount($0.mount.target, "the same data")
              : .mountNamespace($0.mount.target))
        }
    }
  }
}
