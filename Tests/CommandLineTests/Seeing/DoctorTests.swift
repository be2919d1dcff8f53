import CDaemonStoreLinux
import FoundationEssentials
import Glibc
import DaemonStoreKernel
import TestSupport
import Testing

struct Found: Decodable, Equatable {
  let severity: String
  let kind: String
  let subject: String
  let problem: String
  let evidence: [String]
  let fix: String
}

extension Host {
  /// What a doctor finds, after a look at the form and the status of its answer.
  private func findings(
    _ schema: Schema, sourceLocation: SourceLocation = #_sourceLocation
  ) throws -> [Found] {
    let outcome = try run("daemon-store", "doctor", "--json")
    let findings = try schema.decode([Found].self, outcome.output, sourceLocation: sourceLocation)
    #expect(
      outcome.status == (findings.isEmpty ? 0 : 3) && outcome.complaints.isEmpty, "\(outcome)",
      sourceLocation: sourceLocation)
    return findings
  }

  /// Expects findings of these kinds, in this order, and no other.
  @discardableResult
  func expect(
    _ kinds: [String], _ schema: Schema, sourceLocation: SourceLocation = #_sourceLocation
  ) throws -> [Found] {
    let findings = try findings(schema, sourceLocation: sourceLocation)
    #expect(findings.map(\.kind) == kinds, "\(findings)", sourceLocation: sourceLocation)
    return findings
  }
}

/// Each situation is built, and the doctor says that and nothing else.
@Suite(.needsRoot) struct DoctorTests {
  @Test(arguments: Machine.allCases)
  func aMachineAtWorkIsHealthy(machine: Machine) async {
    await #expect(processExitsWith: .success) { [machine] in
      let schema = try Schema("doctor")
      inHost(machine) { host in
        try host.expect([], schema)
        try host.boot("alpha", "bravo")
        let jail = try host.jail(following: "alpha")
        try host.login("alice")
        _ = try host.jail(following: "bravo")
        _ = try host.follower()
        // Who holds a user's data in a namespace of its own wants nothing of the stores.
        _ = try host.holder {
          try enterOwnNamespace(.privately)
          let folder = "/run/daemon-store/alpha/\(Host.alice)"
          try check("chdir", folder, chdir(folder))
        }
        try host.login("bob")
        try host.expect([], schema)
        try host.helpers.stop(jail)  // a daemon that was killed leaves nothing
        let outcome = try host.succeed("daemon-store", "doctor")
        #expect(outcome.lines == ["healthy"])
      }
    }
  }

  /// Something that is wrong with templates and stores, which a command fixes.
  enum Fault: String, Codable, CaseIterable {
    case templateForEverybody, templatesForTheGroup, templateIsAFile
    case unmounted, stacked, stackedTwice, replaced, isAFile, unshared, writable, foreignOwner
    case allReplaced
    case foreignGroup, withoutTemplate

    var kind: String {
      switch self {
      case .templateForEverybody, .templatesForTheGroup, .templateIsAFile: "insecure-template"
      case .unmounted: "store-missing"
      case .stacked, .stackedTwice: "store-stacked"
      case .replaced, .allReplaced, .isAFile: "store-replaced"
      case .unshared: "store-not-shared"
      case .writable, .foreignOwner: "store-drifted"
      case .foreignGroup: "store-foreign-group"
      case .withoutTemplate: "store-without-template"
      }
    }

    func commit(_ host: Host) throws {
      let store = "/run/daemon-store/alpha"
      switch self {
      case .templateForEverybody: try setMode("/etc/daemon-store/alpha", 0o707)
      case .templatesForTheGroup: try setMode("/etc/daemon-store", 0o775)
      case .templateIsAFile: try writeFile("/etc/daemon-store/a file; reboot", "")
      case .unmounted: try unmountFilesystem(store)
      case .stacked: try bindMount(store, store)
      case .stackedTwice: for _ in 1...2 { try bindMount(store, store) }
      case .allReplaced:
        try mountFilesystem("other", "/run/daemon-store", "tmpfs", 0, "mode=1777")
      case .replaced:
        try unmountFilesystem(store)
        try mountFilesystem("other", store, "tmpfs")
      case .isAFile:
        try host.succeed("daemon-store", "shutdown")
        try writeFile(store, "")
        _ = try host.run("daemon-store", "startup")
      case .unshared: try mountFilesystem("none", store, nil, MS_PRIVATE)
      case .writable: try mountFilesystem("none", store, nil, MS_REMOUNT | MS_BIND)
      case .foreignOwner:  // the store itself is read-only
        try makeDirectory("/mnt/run")
        try bindMount("/run", "/mnt/run")
        try setOwner("/mnt/run/daemon-store-cache/alpha", 7, 8)
        try unmountFilesystem("/mnt/run")
      case .foreignGroup:
        try unmountFilesystem(store)
        try bindMount(store, store)
        try mountFilesystem(
          "none", store, nil,
          MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | 256)  // nosymfollow
      case .withoutTemplate: try remove("/etc/daemon-store/alpha")
      }
    }
  }

  @Test(arguments: Fault.allCases)
  func aFaultIsFoundAndMended(fault: Fault) async {
    await #expect(processExitsWith: .success) { [fault] in
      let schema = try Schema("doctor")
      inHost(.shared) { host in
        try host.boot("alpha", "bravo")
        try fault.commit(host)
        // A store without a template is in both trees.
        let count = fault == .withoutTemplate ? 2 : 1
        let findings = try host.expect(Array(repeating: fault.kind, count: count), schema)
        let outcome = try host.run("daemon-store", "doctor")
        #expect(outcome.status == 3 && outcome.lines.last?.hasPrefix("\(count) finding") == true)
        for finding in findings.prefix(1) {
          #expect(outcome.lines.contains("  fix: \(finding.fix)"), "\(outcome)")
          let fixed = try host.script(finding.fix)
          #expect(fixed.status == 0, "\(fixed)")
        }
        try host.expect([], schema)
      }
    }
  }

  @Test func aStackedStoreThatUsersAreInIsMended() async {
    await #expect(processExitsWith: .success) {
      let schema = try Schema("doctor")
      inHost(.shared) { host in
        try host.boot("alpha")
        try host.login("alice")
        try bindMount("/run/daemon-store/alpha", "/run/daemon-store/alpha", recursively: true)
        let findings = try host.expect(["store-stacked"], schema)
        #expect(try host.script(findings[0].fix).status == 0)
        try host.login("alice")
        try host.expect([], schema)
      }
    }
  }

  /// A jail or a container has the stores of its host: there is nothing to fix.
  @Test func whereStoresAreFollowedTheHostIsNamed() async {
    await #expect(processExitsWith: .success) {
      let schema = try Schema("doctor")
      inHost(.shared) { host in
        try host.boot("alpha")
        try host.login("alice")
        let inside = try host.script(
          "unshare --mount --propagation slave daemon-store doctor --json")
        let findings = try schema.decode([Found].self, inside.output)
        #expect(inside.status == 3 && !findings.isEmpty, "\(inside)")
        #expect(
          findings.allSatisfy {
            $0.kind == "unseen" && $0.problem.contains("host") && !$0.fix.contains("umount")
          }, "\(inside)")
      }
    }
  }

  @Test func whatMayNotBeLookedAtIsSaid() async {
    await #expect(processExitsWith: .success) {
      inHost(.shared) { host in
        try host.boot("alpha")
        _ = try host.follower()
        let outcome = try host.script("setpriv --bounding-set=-sys_ptrace daemon-store doctor")
        #expect(outcome.status == 3, "\(outcome)")
        #expect(outcome.lines.contains { $0.contains("may not be looked at") }, "\(outcome)")
      }
    }
  }

  /// Who runs in a jail that no login reaches, and why.
  enum Deafness: String, Codable, CaseIterable {
    case privateCopy, boundTooEarly, startedTooEarly, boundRun, formerStore, strayGroup,
      notRecursive

    var kind: String {
      switch self {
      case .privateCopy: "daemon-private-copy"
      case .boundTooEarly, .startedTooEarly, .boundRun: "daemon-bare-directory"
      case .formerStore: "daemon-former-store"
      case .strayGroup: "daemon-stray-group"
      case .notRecursive: "daemon-misses-user"
      }
    }

    /// A jail that binds `source` on `/mnt/jail` before anything else is changed in it.
    private func jail(_ host: Host, _ source: String, recursively: Bool) throws -> pid_t {
      try host.helpers.fork {
        try enterOwnNamespace(.following)
        try mountFilesystem("jail", "/mnt", "tmpfs")
        try makeDirectory("/mnt/jail")
        try bindMount(source, "/mnt/jail", recursively: recursively)
        if self == .privateCopy { try mountFilesystem("none", "/mnt", nil, MS_REC | MS_PRIVATE) }
        for place in ["/run", "/home"] { try unmountFilesystem(place, lazily: true) }
      }
    }

    /// The stores too, at the moment that makes the daemon deaf.
    func build(_ host: Host) throws -> pid_t {
      let store = "/run/daemon-store/alpha"
      try host.template("alpha", owner: 5, group: 60, mode: 0o700)
      switch self {
      case .boundTooEarly:
        try makeDirectory(store, owner: 0, group: 60, mode: 0o751)
        let jail = try jail(host, store, recursively: true)
        try host.succeed("daemon-store", "startup")
        return jail
      case .startedTooEarly:
        let daemon = try host.helpers.fork {
          try enterOwnNamespace(.privately)
          try check("setresuid", nil, linux_setresuid(5))
          try check("prctl", nil, linux_prctl(4, 1, 0, 0))  // PR_SET_DUMPABLE
        }
        try host.succeed("daemon-store", "startup")
        return daemon
      case .privateCopy, .boundRun, .notRecursive:
        try host.succeed("daemon-store", "startup")
        try host.login("alice")
        return try jail(host, self == .boundRun ? "/run" : store, recursively: self == .privateCopy)
      case .formerStore:
        try host.succeed("daemon-store", "startup")
        let jail = try host.jail(following: "alpha")
        try host.succeed("daemon-store", "shutdown", "--force")
        try host.succeed("daemon-store", "startup")
        return jail
      case .strayGroup:
        try host.succeed("daemon-store", "startup")
        // It keeps the group when the store leaves it.
        _ = try host.holder { try check("unshare", nil, linux_unshare(CLONE_NEWNS)) }
        let jail = try host.jail(following: "alpha")
        try mountFilesystem("none", store, nil, MS_PRIVATE)
        try host.succeed("daemon-store", "startup")
        return jail
      }
    }
  }

  @Test(arguments: Deafness.allCases)
  func aDaemonThatNoLoginReachesIsNamed(deafness: Deafness) async {
    await #expect(processExitsWith: .success) { [deafness] in
      let schema = try Schema("doctor")
      inHost(.isolated) { host in
        let daemon = try deafness.build(host)
        let findings = try host.expect([deafness.kind], schema)
        let name = try shownName(of: daemon)
        #expect(findings[0].subject == name, "\(findings)")
        #expect(findings[0].fix == "kill \(daemon)  # and start it again", "\(findings)")
        #expect(findings[0].problem.contains("alpha"))
        if deafness == .startedTooEarly {
          #expect(findings[0].evidence.contains("it runs as the owner of the store"))
        }
        try host.helpers.stop(daemon)
        try host.expect([], schema)
      }
    }
  }

  /// A namespace that one thread of a process is in, as the owner of the store: the first thread is elsewhere,
  /// as another user.
  @Test func aThreadThatNoLoginReachesIsNamed() async {
    await #expect(processExitsWith: .success) {
      let schema = try Schema("doctor")
      inHost(.isolated) { host in
        try host.template("alpha", owner: 5, group: 60, mode: 0o700)
        // unshare(CLONE_NEWNS), mount(MS_REC | MS_PRIVATE), setresuid of the thread alone, PR_SET_DUMPABLE.
        let daemon = try host.helpers.start(
          "python3", "-c",
          """
          import ctypes, os, signal, threading
          libc = ctypes.CDLL(None, use_errno=True)
          call = 147 if os.uname().machine == 'aarch64' else 117
          def work():
            if libc.unshare(0x20000) or libc.mount(None, b'/', None, 0x44000, None): return
            if libc.syscall(call, 5, 5, 5) or libc.prctl(4, 1, 0, 0, 0): return
            os.write(1, b'ready\\n'); signal.pause()
          threading.Thread(target=work).start()
          signal.pause()
          """)
        try host.succeed("daemon-store", "startup")
        let findings = try host.expect(["daemon-bare-directory"], schema)
        #expect(findings[0].subject == (try shownName(of: daemon)), "\(findings)")
        #expect(findings[0].evidence.contains("it runs as the owner of the store"))
        try host.helpers.stop(daemon)
        try host.expect([], schema)
      }
    }
  }

  /// The same namespace, with nobody in it who could want the store.
  @Test func whoWantsNoStoreIsLeftAlone() async {
    await #expect(processExitsWith: .success) {
      let schema = try Schema("doctor")
      inHost(.isolated) { host in
        try host.template("alpha", owner: 5, group: 60)
        _ = try host.holder { try enterOwnNamespace(.privately) }
        try host.succeed("daemon-store", "startup")
        _ = try host.holder { try enterOwnNamespace(.privately) }
        try host.expect([], schema)
      }
    }
  }

  @Test func driftedOwnersAreFound() async {
    await #expect(processExitsWith: .success) {
      let schema = try Schema("doctor")
      inHost(.shared) { host in
        try host.template("alpha", owner: 5, group: 60, mode: 0o700)
        try host.template("bravo", owner: 5, group: 60, mode: 0o2770)
        try host.succeed("daemon-store", "startup")
        try host.login("alice")
        for (store, owner, group) in [
          ("alpha", 5, 60), ("alpha", 9, 60), ("bravo", 9, 60), ("alpha", 7, 7),
        ] as [(String, uid_t, gid_t)] {
          let path = "/run/daemon-store/\(store)/\(Host.alice)/deep \(owner)/er"
          try makeDirectory(path, owner: owner, group: group)
          try setOwner("\(path)/..", owner, group)
          try writeFile("\(path)/it's", "")
          try setOwner("\(path)/it's", owner, group)
        }
        let folder = "/run/daemon-store/alpha/\(Host.alice)"
        let findings = try host.expect(["owner-drift"], schema)
        #expect(findings[0].subject == folder, "\(findings)")
        #expect(findings[0].problem.hasPrefix("holds 6 files"), "\(findings)")
        #expect(findings[0].evidence.contains("deep 7 belongs to user 7"), "\(findings)")
        let fixed = try host.script(findings[0].fix)
        #expect(fixed.status == 0, "\(fixed)")
        let now = attributes("\(folder)/deep 9/er/it's")
        #expect(now == "file 5:60 644", "\(now)")
        try host.expect([], schema)
      }
    }
  }

  @Test func theMostSeriousComesFirst() async {
    await #expect(processExitsWith: .success) {
      let schema = try Schema("doctor")
      inHost(.shared) { host in
        try host.boot("alpha", "bravo")
        try host.login("alice")
        try writeFile("/run/daemon-store/alpha/\(Host.alice)/file", "")
        try setOwner("/run/daemon-store/alpha/\(Host.alice)/file", 9, 9)
        try mountFilesystem("none", "/run/daemon-store/bravo", nil, MS_PRIVATE)
        try writeFile("/etc/daemon-store/zulu", "")
        let kinds = ["insecure-template", "store-not-shared", "owner-drift"]
        let findings = try host.expect(kinds, schema)
        #expect(findings.map(\.severity) == ["critical", "error", "warning"])
      }
    }
  }

  @Test func anOrdinaryUserIsRefused() async {
    await #expect(processExitsWith: .success) {
      inHost(.isolated) { host in
        for arguments in [["doctor"], ["status"], ["tree"], ["who", "alpha"]] {
          let outcome = try run(
            "setpriv",
            ["--reuid", "65534", "--clear-groups", "/mnt/programs/daemon-store"] + arguments)
          #expect(outcome.status == 1 && outcome.complains(of: "only root"), "\(outcome)")
        }
      }
    }
  }
}
