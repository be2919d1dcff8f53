import Kernel
import MountTable

/// Somebody who holds a store, or a user's folder in it.
public struct StoreHolding: Sendable {
  /// nil for the store itself.
  public let user: ObfuscatedUsername?
  public let holder: Holder
}

extension Layout {
  /// Who holds a store, and the folders in it: processes, by the files themselves, private copies in
  /// all mount namespaces, other mounts of the same data here, and loop devices.
  ///
  /// - Parameter user: whose folder alone counts; nil for the store and all folders.
  public func holders(of store: StoreName, user: ObfuscatedUsername?) throws -> [StoreHolding] {
    let survey = try StoreSurvey(of: self).stores.filter { $0.name == store }
    guard survey.contains(where: { $0.directory != nil }) else {
      throw Refusal(
        path: path(of: store, in: .data), reason: "there is no such store; see daemon-store status")
    }
    var holdings: [StoreHolding] = []
    if user == nil {
      holdings += try holders(of: survey).map { StoreHolding(user: nil, holder: $0) }
    }
    for user in user.map({ [$0] }) ?? Set(survey.flatMap(\.users)).sorted() {
      let folders = try UserSubtree(of: user, in: store, self)
      let places = StoreTree.allCases.map { path(of: user, in: store, $0) }
      holdings += try folders.holders(besides: Set(places))
        .map { StoreHolding(user: user, holder: $0) }
    }
    return holdings
  }

  private func holders(of store: [SurveyedStore]) throws -> [Holder] {
    let identities = Set(store.compactMap(\.directory?.identity))
    var search = HolderSearch { file, _, _ in identities.contains(file.identity) }
    return try search.processes()
      + store.flatMap(\.views).filter { !$0.role.receives }
      .map { Holder(keeper: $0.keeper, hold: .mountNamespace($0.path)) }
  }
}

extension UserSubtree {
  /// - Parameter places: where it is to be mounted, in our namespace.
  fileprivate func holders(besides places: Set<String>) throws -> [Holder] {
    let views = try views()
    var search = HolderSearch(for: contains, isNamed: isNamed)
    let processes = try search.processes()
    let groups = Set(
      views.filter(\.isOwn).flatMap(\.shown).filter { places.contains($0.mount.target) }
        .compactMap { $0.parent?.peerGroup })
    let mounts = views.flatMap { view -> [Holder] in
      let keeper = view.isOwn ? nil : view.keeper
      if view.isClosed { return [Holder(keeper: keeper, hold: .closedNamespace)] }
      let copies = view.shown.filter {
        view.isOwn ? !places.contains($0.mount.target) : !$0.follows(groups)
      }
      return view.overlays.map { Holder(keeper: keeper, hold: .mount($0.target, $0.fileSystem)) }
        + copies.map {
          Holder(
            keeper: keeper,
            hold: view.isOwn
              ? .mount($0.mount.target, "the same data") : .mountNamespace($0.mount.target))
        }
    }
    return processes + mounts + loopDevices()
  }
}
