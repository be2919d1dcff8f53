import Glibc
import DaemonStoreKernel

extension StoreSurvey {
  /// What is wrong with the templates, the stores, and those who want to follow them. A decision
  /// from what was seen alone.
  package var findings: [Finding] {
    templates.rejected.map { refusal in
      Finding(
        .insecureTemplate, refusal.path, "is not used: \(refusal.reason)",
        evidence: templates.isUnknown
          ? ["whoever can change it decides which stores there are, so none is made"]
          : ["no store is made of it"],
        fix: refusal.fix ?? "rm -r \(shellWord(refusal.path))")
    } + stores.flatMap(\.findings) + daemonFindings
      + (hidden.first.map { first in
        [
          Finding(
            .unseen, "processes", "may not be looked at, and may have any store",
            evidence: ["\(hidden.count) of them, the first \(first)"],
            fix: "daemon-store doctor  # with CAP_SYS_PTRACE, in the first pid and user namespace")
        ]
      } ?? [])
      + unseen
      + closed.map {
        Finding(
          .unseen, "the mount namespace of \($0)", "cannot be looked into",
          evidence: ["it may have any store"],
          fix: "daemon-store doctor  # with all capabilities, in the first pid and user namespace")
      }
  }

  /// A daemon that lacks a store mostly lacks its cache, too: that is one finding.
  private var daemonFindings: [Finding] {
    var findings: [Finding] = []
    var cache: [Finding] = []
    for store in stores {
      for view in store.views where view.isWanted {
        guard let finding = store.finding(of: view) else { continue }
        if store.tree == .data { findings.append(finding) } else { cache.append(finding) }
      }
    }
    return findings
      + cache.filter { late in
        !findings.contains {
          ($0.kind, $0.subject, $0.problem) == (late.kind, late.subject, late.problem)
        }
      }
  }
}

extension SurveyedStore {
  /// What is wrong with the store itself.
  package var findings: [Finding] {
    let startup = "daemon-store startup"
    switch step {
    case .keep: return []
    case .create:
      return [
        Finding(
          .storeMissing, path, "is not mounted, so no user's folder appears in it",
          evidence: ["its template is there"], fix: startup)
      ]
    case .remove:
      return [
        Finding(
          .storeWithoutTemplate, path, "has no template any more",
          evidence: ["no process and no user uses it"], fix: startup)
      ]
    case .retain(let reason):
      return [
        Finding(
          .storeWithoutTemplate, path, "has no template any more", evidence: [reason],
          fix: "\(startup)  # when it is not in use any more")
      ]
    case .repair(let repairs):
      return repairs.map { repair in
        Finding(
          repair.finding, path, repair.problem, evidence: evidence(for: repair), fix: startup)
      }
    case .refuse(let reason):
      return [refusal(reason)]
    }
  }

  /// What is at the place of the store, and keeps a startup from making it.
  private func refusal(_ reason: String) -> Finding {
    let what = place.mounts.map {
      "\($0.fileSystem) \($0.source), directory \($0.root), \($0.propagation)"
    }
    if case .other = place.entry {
      return Finding(
        .storeReplaced, path, reason, evidence: what, fix: "rm \(path) && daemon-store startup")
    }
    if place.mounts.count > 1 {
      // Each one that is more is mounted on all peers, and unmounted with them.
      let isOneMore = place.mounts.count == 2 && place.below.isEmpty
      return Finding(
        .storeStacked, path, "has \(place.mounts.count) mounts stacked on it", evidence: what,
        fix: (isOneMore ? "umount \(path)" : "daemon-store shutdown") + " && daemon-store startup")
    }
    if place.mounts.last?.master != nil {
      return Finding(
        .unseen, path, reason, evidence: what, fix: "daemon-store doctor  # on the host")
    }
    if isInForeignGroup {
      return Finding(
        .storeForeignGroup, path, "is in the peer group of the mount around it",
        evidence: what + ["each login mounts twice, and users are mounted in it"],
        fix: "daemon-store shutdown && daemon-store startup")
    }
    return Finding(
      .storeReplaced, path, "is the mount point of something else", evidence: what,
      fix: "umount \(path) && daemon-store startup")
  }

  private func evidence(for repair: StoreRepair) -> [String] {
    let mount = place.mounts.last
    switch repair {
    case .ownership:
      return [
        directory.map {
          "it belongs to \($0.owner):\($0.group), mode \(octal($0.permissions)), not to "
            + "0:\(template?.group ?? 0), mode \(octal(StorePlan.permissions))"
        } ?? "its directory"
      ]
    case .attributes:
      let missing = StorePlan.attributes.subtracting(mount?.attributes ?? []).names
      return ["it is mounted without \(missing.joined(separator: ","))"]
    case .unshared:
      return [
        "it is \(mount?.propagation ?? "private"), so no jail receives a login",
        "the daemons that followed it must be restarted afterwards",
      ]
    case .foreignGroup:
      return [
        "it is \(mount?.propagation ?? "shared"), as is the mount around it: each login "
          + "mounts twice"
      ]
    }
  }

  /// Why a login does not arrive where somebody wants it; nil where it does.
  fileprivate func finding(of view: StoreView) -> Finding? {
    let subject = view.daemon ?? view.process
    let name = subject.map { "\($0)" } ?? "the mount namespace of \(view.keeper)"
    let unit = subject?.unit
    let restart =
      unit.map { "systemctl restart \($0)" }
      ?? subject.map { "kill \($0.pid)  # and start it again" } ?? view.keeper.fix
    func finding(_ kind: Finding.Kind, _ problem: String, _ evidence: String) -> Finding {
      let owner = view.daemon.map { _ in ["it runs as the owner of the store"] } ?? []
      return Finding(
        kind, unit.map { "\($0), \(name)" } ?? name, problem, evidence: [evidence] + owner,
        fix: restart)
    }
    let never = "will never see a login in \(self.name)"
    switch view.role {
    case .follows, .peer:
      let missing = users.filter { !view.users.contains($0) }
      guard let first = missing.first else { return nil }
      return finding(
        .daemonMissesUser,
        "does not see \(missing.count == 1 ? "a user who is" : "\(missing.count) users who are") "
          + "mounted in \(self.name)",
        "\(view.path)/\(first) is not mounted there: a bind without MS_REC takes along nobody who "
          + "is mounted already")
    case .privateCopy:
      return finding(
        .daemonPrivateCopy, never, "\(view.path) is a private copy of \(path), no slave of it")
    case .bareDirectory:
      return finding(
        .daemonBareDirectory, never,
        "\(view.path) is the directory below the store: the daemon was started before the store "
          + "was mounted, or has the directories around it by a bind without MS_REC")
    case .formerStore:
      return finding(
        .daemonFormerStore, never,
        "\(view.path) is a store of that name that was taken down meanwhile")
    case .stray(let group):
      return finding(
        .daemonStrayGroup, never,
        "\(view.path) follows the peer group \(group), which no store has any more")
    }
  }
}

extension StoreRepair {
  fileprivate var finding: Finding.Kind {
    switch self {
    case .unshared: .storeNotShared
    case .foreignGroup: .storeForeignGroup
    case .ownership, .attributes: .storeDrifted
    }
  }

  fileprivate var problem: String {
    switch self {
    case .unshared: "is not shared"
    case .foreignGroup: "is in the peer group of the mount around it"
    case .ownership: "has another owner or mode"
    case .attributes:
      "is not mounted \(StorePlan.attributes.names.map(\.description).joined(separator: ","))"
    }
  }
}

extension StoreView {
  /// Who keeps the namespace, if it is a process.
  package var process: ProcessName? {
    if case .process(let process) = keeper { process } else { nil }
  }
}
