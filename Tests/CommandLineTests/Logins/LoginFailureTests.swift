import Glibc
import TestSupport
import Testing

@Suite(.needsRoot) struct LoginFailureTests {
  /// Runs `body`, and expects that it leaves no mount and no file of a user's behind.
  private static func leavingNothing(
    _ host: Host, sourceLocation: SourceLocation = #_sourceLocation, _ body: () throws -> Void
  ) throws {
    let before = try host.table()
    try body()
    #expect(try host.table() == before, sourceLocation: sourceLocation)
    for place in ["user", "root", ".shadow"] {
      let left = (try? names(in: "/home/\(place)")) ?? []
      #expect(left.isEmpty, "/home/\(place): \(left)", sourceLocation: sourceLocation)
    }
    for tree in trees {
      let left = try names(in: "/run/\(tree)/alpha")
      #expect(left.isEmpty, "\(tree): \(left)", sourceLocation: sourceLocation)
    }
  }

  @Test(arguments: Machine.allCases)
  func withoutVault(machine: Machine) async {
    await #expect(processExitsWith: .success) { [machine] in
      inHost(machine) { host in
        try host.boot("alpha")
        try Self.leavingNothing(host) {
          try host.refuse(["alice: has no vault", "--vault"], "cryptohome", "mount", "alice")
          try host.refuse([Host.alice, "no user"], "cryptohome", "mount", Host.alice)
          try host.refuse(
            [Host.alice, "no user"], "cryptohome", "mount", Host.alice, "--vault", "plain")
        }
      }
    }
  }

  @Test(arguments: Machine.allCases)
  func ofAnotherKindOfVault(machine: Machine) async {
    await #expect(processExitsWith: .success) { [machine] in
      inHost(machine) { host in
        try host.boot("alpha")
        try host.login("alice")
        try host.logout("alice")
        let before = try host.table()
        try host.refuse(
          ["alice: ", "plain", "ephemeral"], "cryptohome", "mount", "alice", "--vault",
          "ephemeral")
        #expect(try host.table() == before)
        try host.succeed("cryptohome", "mount", "bob", "--vault", "ephemeral")
        let mounted = try host.table()
        try host.refuse(
          ["bob: ", "plain", "ephemeral"], "cryptohome", "mount", "bob", "--vault", "plain")
        #expect(try host.table() == mounted)
        let unknown = try host.run("cryptohome", "mount", "bob", "--vault", "gold")
        #expect(unknown.status == 2, "\(unknown)")
        #expect(try host.table() == mounted)
      }
    }
  }

  @Test(arguments: Machine.allCases)
  func encryptedVaultIsNeverReplaced(machine: Machine) async {
    await #expect(processExitsWith: .success) { [machine] in
      inHost(machine) { host in
        try host.boot("alpha")
        try makeDirectory("/home/.shadow/\(Host.alice)/mount", mode: 0o700)
        try writeFile("/home/.shadow/\(Host.alice)/vault.json", "{}")
        let before = try host.table()
        for arguments in [[], ["--vault", "plain"], ["--vault", "ephemeral"]] {
          let outcome = try run("/mnt/programs/cryptohome", ["mount", "alice"] + arguments)
          #expect(outcome.status == 1 && outcome.complains(of: "vault.json"), "\(outcome)")
        }
        #expect(try host.table() == before)
        #expect(try names(in: "/home/.shadow/\(Host.alice)/mount").isEmpty)
      }
    }
  }

  @Test(arguments: Machine.allCases)
  func ofBadNames(machine: Machine) async {
    await #expect(processExitsWith: .success) { [machine] in
      inHost(machine) { host in
        try host.boot("alpha")
        try Self.leavingNothing(host) {
          let upper = Host.alice.uppercased()
          try host.refuse(
            [upper, "upper-case"], "cryptohome", "mount", upper, "--vault", "plain")
          try host.refuse(["empty"], "cryptohome", "mount", "", "--vault", "plain")
          try host.refuse(["empty"], "cryptohome", "sanitize", "")
          for verb in ["mount", "unmount", "sanitize", "status"] {
            let words = [verb].map { Array($0.utf8CString) }
            let broken: [CChar] = [97, -1, 0]
            let outcome = try run("/mnt/programs/cryptohome", raw: [words[0], broken])
            #expect(outcome.status == 2 && outcome.complaints.count == 1, "\(outcome)")
            #expect(outcome.complains(of: "argument 2", "UTF-8"), "\(outcome)")
          }
        }
      }
    }
  }

  @Test(arguments: Machine.allCases)
  func whereSomebodyElseCanWrite(machine: Machine) async {
    await #expect(processExitsWith: .success) { [machine] in
      inHost(machine) { host in
        try host.boot("alpha")
        try makeDirectory("/home/root", mode: 0o700)
        for place in ["user", "root"] {
          if !exists("/home/\(place)") { try makeDirectory("/home/\(place)", mode: 0o711) }
          try Self.leavingNothing(host) {
            try setOwner("/home/\(place)", 1000, 1000)
            try host.refuse(
              ["/home/\(place): ", "user 1000"], "cryptohome", "mount", "alice", "--vault",
              "plain")
            try setOwner("/home/\(place)", 0, 0)
            try setMode("/home/\(place)", 0o777)
            try host.refuse(
              ["/home/\(place): ", "0777"], "cryptohome", "mount", "alice", "--vault",
              "ephemeral")
            try setMode("/home/\(place)", 0o711)
          }
        }
        try host.login("alice")
      }
    }
  }

  @Test(arguments: Machine.allCases)
  func whereSomethingElseIs(machine: Machine) async {
    await #expect(processExitsWith: .success) { [machine] in
      inHost(machine) { host in
        try host.boot("alpha")
        try host.login("alice")
        try host.logout("alice")
        let home = "/home/root/\(Host.alice)"
        let before = try host.table()
        try makeLink(home, to: "/etc")
        try host.refuse([home, "symbolic link"], "cryptohome", "mount", "alice")
        try remove(home)
        try makeDirectory("\(home)/data")
        try host.refuse([home, "holds files"], "cryptohome", "mount", "alice")
        try remove("\(home)/data")
        #expect(try host.table() == before, "nothing stays mounted")
        try mountFilesystem("other", home, "tmpfs")
        let other = try host.table()
        try host.refuse([home, "something else"], "cryptohome", "mount", "alice")
        #expect(try host.table() == other)
        try unmountFilesystem(home)
        try host.login("alice")
        try host.expectMounted(Host.alice, in: ["alpha"])
      }
    }
  }

  @Test(arguments: Machine.allCases)
  func ownersOfUsersWithoutEntry(machine: Machine) async {
    await #expect(processExitsWith: .success) { [machine] in
      inHost(machine) { host in
        try host.boot("alpha")
        try Self.leavingNothing(host) {
          try host.refuse(
            ["passwd", "--owner"], "cryptohome", "mount", "guest", "--vault", "plain")
          try host.refuse(
            ["passwd", "--owner"], "cryptohome", "mount", "guest", "--vault", "ephemeral")
          try host.refuse(
            ["alice", "1000:1000"], "cryptohome", "mount", "alice", "--vault", "plain",
            "--owner", "0:0")
          for owner in ["5", "5:", ":5", "5:x", "-1:5", "+1:5", "5:5:5", "4294967295:5", "5: 5"] {
            let outcome = try host.run(
              "cryptohome", "mount", "guest", "--vault", "plain", "--owner=\(owner)")
            #expect(outcome.status == 2 && outcome.complaints.count == 1, "\(outcome)")
          }
        }
        let user = "/home/user/\(Host.guest)"
        try host.succeed("cryptohome", "mount", "guest", "--vault", "plain", "--owner", "12:34")
        #expect(attributes(user) == "12:34 700")
        try host.logout("guest")
        try host.succeed("cryptohome", "mount", "guest")
        #expect(attributes(user) == "12:34 700", "kept at the next login")
        try host.logout("guest")
        try host.refuse(
          ["12:34", "in its vault"], "cryptohome", "mount", Host.guest, "--owner", "12:35")
        try host.succeed("cryptohome", "mount", Host.guest, "--owner", "12:34")
        #expect(attributes(user) == "12:34 700")
        try host.succeed(
          "cryptohome", "mount", "alice", "--vault", "plain", "--owner", "1000:1000")
      }
    }
  }

  /// A limit of the size of files is an error of a write, and not the end of the program.
  @Test func whereFilesHaveALimit() async {
    await #expect(processExitsWith: .success) {
      inHost(.isolated) { host in
        try host.boot("alpha")
        let login = try host.script("ulimit -f 0; cryptohome mount alice --vault plain")
        #expect([0, 1, 3].contains(login.status), "\(login)")
        #expect(login.status == 0 || login.complaints.count == 1, "\(login)")
        try host.login("alice")
        try host.expectMounted(Host.alice, in: ["alpha"])
        try host.logout("alice")
      }
    }
  }
}
