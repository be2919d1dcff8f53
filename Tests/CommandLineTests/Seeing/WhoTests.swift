import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel
import TestSupport
import Testing

private struct Holding: Decodable {
  let user: String?
  let kind: String
  let path: String?
  let holder: Namespace?
  let what: String
}

@Suite(.needsRoot) struct WhoTests {
  /// Who holds, as `kind pid user`.
  private static func lines(_ host: Host, _ schema: Schema, _ arguments: String...) throws
    -> [String]
  {
    let outcome = try run("/mnt/programs/daemon-store", ["who"] + arguments + ["--json"])
    #expect(outcome.status == 0 && outcome.complaints.isEmpty, "\(outcome)")
    return try schema.decode([Holding].self, outcome.output).map {
      "\($0.kind) \($0.holder?.pid ?? 0) \($0.user ?? "store")"
    }
  }

  private static func bindSocket(_ path: String) throws {
    let number = try check("socket", nil, socket(AF_UNIX, CInt(SOCK_DGRAM.rawValue), 0))
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
    let bound = withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(number, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    try check("bind", path, bound)
  }

  @Test(arguments: Machine.allCases, ["plain", "ephemeral"])
  func everyKindOfHoldIsNamed(machine: Machine, vault: String) async {
    await #expect(processExitsWith: .success) { [machine, vault] in
      let schema = try Schema("who")
      inHost(machine) { host in
        try host.boot("alpha", "bravo")
        for user in ["alice", "bob"] {
          try host.succeed("cryptohome", "mount", user, "--vault", vault)
        }
        let folder = "/run/daemon-store/alpha/\(Host.alice)"
        try writeFile("\(folder)/file", "text")
        let jail = try host.jail(following: "alpha")
        let nobody = try host.succeed("daemon-store", "who", "alpha")
        #expect(nobody.lines == ["nobody"], "\(nobody)")

        var wanted: Set<String> = []
        func hold(_ kind: String, _ user: String = Host.alice, _ body: () throws -> Void) throws {
          wanted.insert("\(kind) \(try host.holder(body)) \(user)")
        }
        try hold("cwd") { try check("chdir", folder, chdir(folder)) }
        try hold("root") {
          try makeDirectory("\(folder)/root")
          try check("chroot", folder, chroot("\(folder)/root"))
        }
        // In the jail it has another path, and in the home yet another.
        wanted.insert(
          "file \(try host.helpers.fork(inside: jail) { try Self.openForReading("/mnt/jail/\(Host.alice)/file") }) "
            + Host.alice)
        try hold("file") { try Self.openForReading("/home/root/\(Host.alice)/alpha/file") }
        try hold("mapping") {
          let file = try check("open", folder, open("\(folder)/file", O_RDONLY))
          let memory = mmap(nil, 4096, PROT_READ, MAP_PRIVATE, file, 0)
          guard memory != MAP_FAILED else { throw Problem("mmap") }
          close(file)
        }
        // Its path says nothing, and the directory that it is relative to is left.
        try hold("socket") {
          try check("chdir", folder, chdir(folder))
          try Self.bindSocket("socket")
          try check("chdir", "/", chdir("/"))
        }
        try hold("cwd", "store") { try check("chdir", nil, chdir("/run/daemon-store/alpha")) }
        try hold("cwd", Host.bob) {
          let cache = "/run/daemon-store-cache/alpha/\(Host.bob)"
          try check("chdir", cache, chdir(cache))
        }
        // Not of this store: another one, and the home.
        _ = try host.holder { try Self.openForReading("/run/daemon-store/bravo/\(Host.alice)") }
        _ = try host.holder { try Self.openForReading("/home/user/\(Host.alice)") }
        let found = Set(try Self.lines(host, schema, "alpha"))
        #expect(found == wanted, "\(found.symmetricDifference(wanted))")
        let alice = Set(try Self.lines(host, schema, "alpha", "alice"))
        #expect(alice == wanted.filter { $0.hasSuffix(Host.alice) }, "\(alice)")
        try host.refuse(["charlie", "no such store"], "daemon-store", "who", "charlie")
      }
    }
  }

  private static func openForReading(_ path: String) throws {
    try check("open", path, open(path, O_RDONLY))
  }

  @Test func aProgramThatRunsIsNamed() async {
    await #expect(processExitsWith: .success) {
      let schema = try Schema("who")
      inHost(.shared) { host in
        try host.boot("alpha")
        try host.login("alice")
        // On the host nothing may be run from there; somebody has bound it elsewhere.
        try makeDirectory("/mnt/elsewhere")
        try bindMount("/home/.shadow/\(Host.alice)/mount/root/alpha", "/mnt/elsewhere")
        let copied = try host.script("cp /bin/sleep /mnt/elsewhere/sleeper")
        #expect(copied.status == 0, "\(copied)")
        let sleeper = try Launched("/mnt/elsewhere/sleeper", ["1000"])
        #expect(eventually { (try? programName(of: sleeper.process)) == "sleeper" })
        let found = Set(try Self.lines(host, schema, "alpha", Host.alice))
        #expect(
          found.contains("exe \(sleeper.process) \(Host.alice)")
            && found.contains("mount 0 \(Host.alice)"), "\(found)")
      }
    }
  }

  @Test func privateCopiesAreNamed() async {
    await #expect(processExitsWith: .success) {
      let schema = try Schema("who")
      inHost(.shared) { host in
        try host.boot("alpha")
        try host.login("alice")
        let copy = try host.holder { try enterOwnNamespace(.privately) }
        _ = try host.follower()
        _ = try host.jail(following: "alpha")
        let found = try Self.lines(host, schema, "alpha")
        let expected = ["store", "store", Host.alice, Host.alice].map {
          "private-copy \(copy) \($0)"
        }
        #expect(found == expected, "\(found)")
        let text = try host.succeed("daemon-store", "who", "alpha", "alice").lines
        let words =
          "mount namespace with a copy of its own at /run/daemon-store/alpha/\(Host.alice)"
        #expect(text.contains("\(Host.alice): \(try shownName(of: copy)): \(words)"), "\(text)")
      }
    }
  }
}
