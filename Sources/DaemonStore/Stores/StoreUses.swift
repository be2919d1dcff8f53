import DaemonStoreKernel

/// Who uses the stores that are to go. All processes and mount namespaces are searched once for
/// all stores, however many, and only when there is one.
final class StoreUses {
  private let layout: Layout
  /// Of each store that was looked for, in words; nil for nobody.
  private var known: [StoreName: String?] = [:]

  init(_ layout: Layout) { self.layout = layout }

  /// Who uses a store, in either tree: both go, or none. nil for nobody.
  ///
  /// - Parameter candidates: the stores that may be asked for next.
  func use(of store: StoreName, among candidates: Set<StoreName>) throws -> String? {
    if let use = known[store] { return use }
    let stores = candidates.union([store]).filter { known[$0] == nil }
    let found = try find(stores)
    for store in stores { known[store] = .some(found[store]) }
    return found[store]
  }

  private func find(_ stores: Set<StoreName>) throws -> [StoreName: String] {
    var uses: [StoreName: String] = [:]
    var identities: [FileIdentity: StoreName] = [:]
    for tree in StoreTree.allCases {
      guard let visible = try Startup.existing(tree, layout) else { continue }
      let mounts = try TreeMounts(
        .current(), directory: visible.path, baseID: try visible.status().mountID)
      for store in stores where !mounts.below(store).isEmpty {
        uses[store] = "users are mounted in it"
      }
      for store in stores where uses[store] == nil {
        if let path = try leftover(in: store, visible) {
          uses[store] = "its directory holds \(path)"
        }
      }
      let followers = try Followers.of(
        Dictionary(uniqueKeysWithValues: stores.map { ($0, mounts.at($0)) }),
        base: mounts.base.mount)
      for (store, list) in followers where uses[store] == nil {
        uses[store] = "is followed by \(list.map(\.description).joined(separator: ", "))"
      }
      for store in stores {
        if let status = try visible.status(of: store.path), status.isMountRoot {
          identities[status.identity] = store
        }
      }
    }
    identities = identities.filter { uses[$0.value] == nil }
    guard !identities.isEmpty else { return uses }
    for (store, holders) in try holders(of: identities) where !holders.isEmpty {
      uses[store] = "is held by \(holders.map(\.description).joined(separator: ", "))"
    }
    return uses
  }

  /// What would keep a store's directory from being removed; the mount points of users, which a
  /// killed login can leave, do not.
  private func leftover(
    in store: StoreName, _ visible: borrowing Directory
  ) throws(SystemError) -> FilePath? {
    guard try visible.status(of: store.path)?.isDirectory == true else { return nil }
    let directory = try visible.directory(store.path)
    for name in try directory.names() {
      guard ObfuscatedUsername(name) != nil, try directory.status(of: name)?.isDirectory == true,
        try directory.directory(name).names().isEmpty
      else { return directory.path(of: name) }
    }
    return nil
  }

  private func holders(of stores: [FileIdentity: StoreName]) throws -> [StoreName: [Holder]] {
    let lost = Unknowns()
    let names = Set(stores.values).sorted()
    let found = try Inspection.run(.files, lost) {
      let holders = try lookForHolders(of: stores)
      return names.map { holders[$0] ?? [] }
    }
    let unknown = lost.holders
    return Dictionary(
      uniqueKeysWithValues: names.enumerated().map { ($1, (found?[$0] ?? []) + unknown) })
  }

  /// The search itself: for an inspecting process.
  private func lookForHolders(
    of stores: [FileIdentity: StoreName]
  ) throws -> [StoreName: [Holder]] {
    // Of each kind of use a search names one file for each process. So this one takes none for
    // what it looks for, and sees them all.
    var used: Set<StoreName> = []
    var survey = HolderSearch { file, _, _ in
      if let store = stores[file.identity] { used.insert(store) }
      return false
    }
    let anybody = try survey.processes()
    var holders: [StoreName: [Holder]] = [:]
    for store in Set(stores.values) { holders[store] = anybody }
    // Few: nobody has a reason to stay in a store whose template is gone.
    for store in used {
      var search = HolderSearch { file, _, _ in stores[file.identity] == store }
      holders[store] = try search.processes()
    }
    return holders
  }
}
