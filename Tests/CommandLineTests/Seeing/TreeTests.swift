import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel
import TestSupport
import Testing

private struct Tree: Decodable {
  struct Store: Decodable {
    let store: String
    let tree: String
    let peerGroup: Int?
    let users: [String]
    let namespaces: [View]
  }

  struct View: Decodable {
    let namespace: Namespace
    let role: String
    let receives: Bool
    let ownBind: Bool
    let path: String
    let arrived: [String]
    let missing: [String]
  }

  let host: Bool
  let stores: [Store]

  func view(of process: pid_t, _ store: String, _ tree: String = "data") -> View? {
    stores.first { ($0.store, $0.tree) == (store, tree) }?.namespaces
      .first { $0.namespace.pid == process }
  }
}

@Suite(.needsRoot) struct TreeTests {
  /// Every way to have a store, and whether each user has arrived, as the kernel has it.
  @Test(arguments: Machine.allCases)
  func everyNamespaceIsShown(machine: Machine) async {
    await #expect(processExitsWith: .success) { [machine] in
      let schema = try Schema("tree")
      inHost(machine) { host in
        try host.boot("alpha", "bravo")
        try host.login("alice")
        let jail = try host.jail(following: "alpha")
        let peer = try host.holder { try check("unshare", nil, linux_unshare(CLONE_NEWNS)) }
        let inheriting = try host.follower()
        let copy = try host.holder { try enterOwnNamespace(.privately) }
        let boundAgain = try host.holder {
          try enterOwnNamespace(.following)
          try bindMount("/run/daemon-store/alpha", "/run/daemon-store/alpha", recursively: true)
        }
        try host.login("bob")
        let users = [Host.alice, Host.bob]
        let tree = try schema.decode(
          Tree.self, try host.succeed("daemon-store", "tree", "--json").output)
        #expect(tree.stores.map(\.store) == ["alpha", "alpha", "bravo", "bravo"])
        #expect(tree.stores.allSatisfy { $0.users == users })
        for (process, role, ownBind, path, arrived) in [
          (jail, "follows", true, "/mnt/jail", users),
          (peer, "peer", false, "/run/daemon-store/alpha", users),
          (inheriting, "follows", false, "/run/daemon-store/alpha", users),
          (copy, "private-copy", false, "/run/daemon-store/alpha", [Host.alice]),
          (boundAgain, "follows", true, "/run/daemon-store/alpha", users),
        ] {
          let view = try #require(tree.view(of: process, "alpha"), "\(role)")
          #expect(view.role == role && view.ownBind == ownBind && view.path == path, "\(view)")
          #expect(view.arrived == arrived && view.arrived.count + view.missing.count == 2)
          // The kernel's own table of that process says the same.
          let there = try mountTable(of: process).filter { mount in
            users.contains { mount.target == "\(path)/\($0)" }
          }
          #expect(Set(there.map(\.target)).count == arrived.count, "\(there)")
        }
        #expect(tree.view(of: jail, "bravo") == nil && tree.view(of: jail, "alpha", "cache") == nil)
        #expect(tree.view(of: inheriting, "bravo", "cache")?.arrived == users)
      }
    }
  }

  /// A jail in a jail follows by way of the outer one.
  @Test func whoFollowsAFollowerFollows() async {
    await #expect(processExitsWith: .success) {
      let schema = try Schema("tree")
      inHost(.shared) { host in
        try host.boot("alpha")
        let outer = try host.holder {
          try enterOwnNamespace(.following)
          try mountFilesystem("none", "/", nil, MS_REC | MS_SHARED)
        }
        let inner = try host.helpers.fork(inside: outer) { try enterOwnNamespace(.following) }
        try host.login("alice")
        let tree = try schema.decode(
          Tree.self, try host.succeed("daemon-store", "tree", "--format", "json").output)
        for process in [outer, inner] {
          let view = tree.view(of: process, "alpha")
          #expect(view?.role == "follows" && view?.arrived == [Host.alice], "\(tree)")
        }
      }
    }
  }

  @Test func theTextFitsATerminal() async {
    await #expect(processExitsWith: .success) {
      inHost(.shared) { host in
        #expect(try host.succeed("daemon-store", "tree").lines == ["no stores"])
        let long = String(repeating: "long-", count: 40)
        try host.boot("alpha", long)
        let early = try host.follower()
        #expect(
          try host.succeed("daemon-store", "tree").lines.contains {
            $0.contains("(pid \(early))") && $0.hasSuffix("  follows, inherited")
          })
        try host.helpers.stop(early)
        try host.login("alice")
        let jail = try host.jail(following: "alpha")
        let copy = try host.holder {
          try enterOwnNamespace(.privately)
          try check("prctl", nil, linux_prctl(15, name("a\u{1b}[31m\n"), 0, 0))  // PR_SET_NAME
        }
        try host.login("bob")
        let lines = try host.succeed("daemon-store", "tree").lines
        #expect(lines.allSatisfy { $0.count <= 80 && $0.utf8.allSatisfy { $0 < 128 } }, "\(lines)")
        #expect(
          lines.contains("/run/daemon-store/alpha") && lines.contains("    this mount namespace"))
        #expect(
          lines.contains { $0.contains("(pid \(jail))") && $0.hasSuffix("own bind, all users") })
        #expect(
          lines.contains {
            $0.hasPrefix("    a\\u{1b}[31m\\u{0a} (pid \(copy))")
              && $0.hasSuffix("private copy, inherited, 1 of 2 users")
          }, "\(lines)")
        #expect(lines.contains("      not \(Host.bob)"))
      }
    }
  }

  @Test func graphvizTakesThePicture() async {
    await #expect(processExitsWith: .success) {
      inHost(.shared) { host in
        try host.boot("alpha")
        try host.login("alice")
        let jail = try host.jail(following: "alpha")
        let copy = try host.holder {
          try enterOwnNamespace(.privately)
          try check("prctl", nil, linux_prctl(15, name("<b>&\"\\x"), 0, 0))
        }
        try host.login("bob")
        let dot = try host.succeed("daemon-store", "tree", "--format", "dot").output
        #expect(dot.contains("digraph") && dot.contains("this mount namespace"))
        // As Graphviz understands it: what leads where, and how.
        let plain = try run("dot", ["-Tplain"], stdin: dot)
        #expect(plain.status == 0, "\(plain)")
        #expect(plain.lines.count { $0.hasPrefix("edge store") } == 3, "\(plain)")
        // Graphviz may miss its fonts here, and say so.
        let drawn = try host.run("daemon-store", "tree", "--format", "svg")
        #expect(drawn.status == 0, "\(drawn)")
        let script =
          "import sys, xml.etree.ElementTree as tree\n"
          + "print(*[e.text for e in tree.parse(sys.stdin).iter() if e.tag.endswith('}text')],"
          + " sep='\\n')"
        let texts = try run("python3", ["-c", script], stdin: drawn.output)
        let jailName = try shownName(of: jail)
        for text in [
          "/run/daemon-store/alpha", jailName, "<b>&\"\\x (pid \(copy))", "follows",
          "nothing arrives", "\(Host.alice.prefix(12))…", "\(Host.bob.prefix(12))… is missing",
        ] {
          // Graphviz writes blanks that do not break.
          let found = texts.lines.map { $0.split(separator: "\u{a0}").joined(separator: " ") }
          #expect(found.contains(text), "\(text): \(texts)")
        }
        // Its results are like all others: whoever closes early has had enough.
        let tree = "daemon-store tree --format svg"
        for place in [">/dev/full", ">&-"] {
          let lost = try host.script("\(tree) \(place)")
          #expect(lost.status == 1 && lost.complains(of: "standard output"), "\(place): \(lost)")
        }
        let closed = try host.script("(\(tree); echo $? >/mnt/status) | true; cat /mnt/status")
        #expect(closed.lines == ["0"] && !closed.complains(of: "daemon-store"), "\(closed)")
        try host.refuse(
          status: 2, ["--json", "--format"], "daemon-store", "tree", "--json", "--format", "dot")
        let without = try run(
          "/mnt/programs/daemon-store", ["tree", "--format", "svg"], environment: ["PATH=/nowhere"])
        #expect(without.status == 1 && without.complains(of: "dot", "graphviz", "--format dot"))
      }
    }
  }
}

/// A text for prctl(2), which is never freed.
private func name(_ text: String) -> UInt {
  UInt(bitPattern: strdup(text))
}
