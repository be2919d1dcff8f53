import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel
import TestSupport
import Testing

@Suite(.needsRoot) struct TemplateCommandTests {
  private static let place = "/etc/daemon-store/notes"

  @Test func addSetsTheStoreUpAtOnce() async {
    await #expect(processExitsWith: .success) {
      inHost(.shared) { host in
        try host.boot("other")
        let added = try host.succeed(
          "daemon-store", "template", "add", "notes", "--owner", "alice:60", "--mode", "2750")
        #expect(
          added.lines == [
            "added \(Self.place)", "created /run/daemon-store/notes",
            "created /run/daemon-store-cache/notes",
          ], "\(added)")
        #expect(attributes(Self.place) == "1000:60 2750")
        let mount = try host.mount(at: "/run/daemon-store/notes")
        #expect(mount.peerGroup != nil && mount.options.contains("ro"), "\(mount)")
        let jail = try host.jail(following: "notes")

        let again = try host.succeed(
          "daemon-store", "template", "add", "notes", "--owner", "alice:60", "--mode", "2750")
        #expect(again.lines == ["unchanged \(Self.place)"], "\(again)")
        let changed = try host.succeed(
          "daemon-store", "template", "add", "notes", "--owner", "5:61")
        #expect(changed.lines.first == "changed \(Self.place)", "\(changed)")
        #expect(attributes(Self.place) == "5:61 700")
        #expect(attributes("/run/daemon-store/notes") == "0:61 751")
        // Who follows the store goes on following it.
        #expect(try host.mount(at: "/run/daemon-store/notes").peerGroup == mount.peerGroup)
        try host.login("alice")
        let own = try mountTable(of: jail).naming(Host.alice)
        #expect(own.map(\.target) == ["/mnt/jail/\(Host.alice)"], "\(own)")
        #expect(attributes("/run/daemon-store/notes/\(Host.alice)") == "5:61 700")
      }
    }
  }

  @Test func addLeavesTheStoreToTheNextBootWhereThereIsNone() async {
    await #expect(processExitsWith: .success) {
      inHost(.isolated) { host in
        try remove("/etc/daemon-store")
        let added = try host.succeed("daemon-store", "template", "add", "notes", "--owner", "7:8")
        #expect(added.lines == ["added \(Self.place)"], "\(added)")
        #expect(attributes("/etc/daemon-store") == "0:0 755" && attributes(Self.place) == "7:8 700")
        #expect(!exists("/run/daemon-store"))
        let removed = try host.succeed("daemon-store", "template", "remove", "notes")
        #expect(removed.lines == ["removed \(Self.place)"], "\(removed)")
        let again = try host.succeed("daemon-store", "template", "remove", "notes")
        #expect(again.lines == ["there is no \(Self.place)"], "\(again)")
      }
    }
  }

  @Test(arguments: [true, false])
  func theFirstTemplateHasItsStoreAtOnce(hasDirectory: Bool) async {
    await #expect(processExitsWith: .success) { [hasDirectory] in
      inHost(.shared) { host in
        if !hasDirectory { try remove("/etc/daemon-store") }
        try host.succeed("daemon-store", "startup")
        let added = try host.succeed("daemon-store", "template", "add", "notes", "--owner", "7:8")
        #expect(
          added.lines == [
            "added \(Self.place)", "created /run/daemon-store/notes",
            "created /run/daemon-store-cache/notes",
          ], "\(added)")
      }
    }
  }

  @Test func removeRefusesWhileUsersAreMounted() async {
    await #expect(processExitsWith: .success) {
      inHost(.shared) { host in
        try host.boot("notes", "other")
        try host.login("alice", "bob")
        let table = try host.table()
        try host.refuse(
          ["/run/daemon-store/notes: users are mounted in it", Host.alice, Host.bob],
          "daemon-store", "template", "remove", "notes")
        #expect(try host.table() == table && exists(Self.place))
        try host.logout("alice")
        try host.logout("bob")
        let removed = try host.succeed("daemon-store", "template", "remove", "notes")
        #expect(
          removed.lines == [
            "removed \(Self.place)", "removed /run/daemon-store/notes",
            "removed /run/daemon-store-cache/notes",
          ], "\(removed)")
        #expect(try host.table().below("/run").filter { $0.target.hasSuffix("/notes") }.isEmpty)
        #expect(try names(in: "/run/daemon-store") == ["other"])
        // The data is in the home, and comes back with the template.
        let data = "/home/.shadow/\(Host.alice)/mount/root/notes"
        #expect(exists(data))
        try host.succeed("daemon-store", "template", "add", "notes", "--owner", "5:60")
        try host.login("alice")
        #expect(try host.mount(at: "/run/daemon-store/notes/\(Host.alice)").root.hasSuffix("notes"))
      }
    }
  }

  @Test func removeLeavesAStoreThatAJailFollows() async {
    await #expect(processExitsWith: .success) {
      inHost(.isolated) { host in
        try host.boot("notes")
        let jail = try host.jail(following: "notes")
        try host.refuse(
          status: 3, ["template remove: /run/daemon-store/notes", "is followed by", "\(jail)"],
          "daemon-store", "template", "remove", "notes")
        #expect(!exists(Self.place) && exists("/run/daemon-store/notes"))
        try host.helpers.stop(jail)
        let again = try host.succeed("daemon-store", "template", "remove", "notes")
        #expect(again.lines.contains("removed /run/daemon-store/notes"), "\(again)")
      }
    }
  }

  @Test func refusesWhatStartupWouldReject() async {
    await #expect(processExitsWith: .success) {
      inHost(.isolated) { host in
        func add(
          _ status: CInt, _ words: [String], _ name: String, _ owner: String, _ more: String...
        ) throws {
          let outcome = try run(
            "/mnt/programs/daemon-store",
            ["template", "add", name, "--owner", owner] + more)
          #expect(
            outcome.status == status && outcome.complaints.count == 1
              && words.allSatisfy { outcome.errors.contains($0) }, "\(outcome)")
        }
        for name in [".hidden", "a/b", "", "a b"] { try add(2, ["'\(name)'"], name, "0:0") }
        for owner in ["root", "root:", ":root", "a:b:c", "-1:0"] {
          try add(2, ["owner"], "n", owner)
        }
        for mode in ["8", "777777", "rwx", "-1", "10000"] {
          try add(2, ["mode"], "n", "0:0", "--mode", mode)
        }
        try add(1, ["n: can be written by everybody (mode 0777)"], "n", "0:0", "--mode", "777")
        try add(1, ["there is no user dora"], "n", "dora:root")
        try add(1, ["there is no group dora"], "n", "root:dora")
        try add(1, ["there is no user 4294967295"], "n", "4294967295:0")
        try add(2, ["Dora is no name for a user"], "n", "Dora:dora", "--create-user")
        #expect(try names(in: "/etc/daemon-store") == [])

        try writeFile("/etc/daemon-store/file", "")
        try add(1, ["file: is a file, not a directory"], "file", "0:0")
        try host.refuse(["file: is a file"], "daemon-store", "template", "remove", "file")
        try host.template("full")
        try writeFile("/etc/daemon-store/full/.keep", "")
        try add(1, ["full: holds files"], "full", "1:1")
        try host.refuse(["full: holds files"], "daemon-store", "template", "remove", "full")
        #expect(attributes("/etc/daemon-store/full") == "0:0 700")
        try host.succeed("daemon-store", "template", "add", "full", "--owner", "0:0")
        try setMode("/etc/daemon-store", 0o775)
        try add(1, ["/etc/daemon-store: can be written by others"], "n", "0:0")
        let nobody = try host.runAsNobody("daemon-store", "template", "add", "n", "--owner", "0:0")
        #expect(nobody.status == 1 && nobody.errors.contains("only root"), "\(nobody)")
      }
    }
  }

  /// With each of the tools, here and in an image.
  @Test(arguments: ["systemd-sysusers", "useradd"], ["/", "/mnt/image"])
  func createsAUserTheWayOfTheDistribution(tool: String, root: String) async {
    await #expect(processExitsWith: .success) { [tool, root] in
      inHost(.isolated) { host in
        // A search path with one of them.
        try makeDirectory("/mnt/tools")
        for name in tool == "useradd" ? ["useradd", "groupadd"] : [tool] {
          let place = exists("/usr/sbin/\(name)") ? "/usr/sbin" : "/usr/bin"
          try makeLink("/mnt/tools/\(name)", to: "\(place)/\(name)")
        }
        let etc = root == "/" ? "/etc" : "\(root)/etc"
        if root != "/" {
          try makeDirectory(etc)
          try writeFile("\(etc)/passwd", "root:x:0:0:root:/root:/bin/sh\n")
          try writeFile("\(etc)/group", "root:x:0:\n")
        }
        for name in ["shadow", "gshadow"] { try writeFile("\(etc)/\(name)", "", mode: 0o600) }
        func add(_ name: String, _ owner: String) throws -> Outcome {
          try run(
            "/mnt/programs/daemon-store",
            ["template", "add", name, "--owner", owner, "--create-user", "--root", root],
            environment: ["PATH=/mnt/tools"])
        }
        for _ in 1...2 {
          let outcome = try add("notes", "notesd:notesd")
          #expect(outcome.status == 0 && outcome.lines.count == 1, "\(outcome)")
        }
        let shared = try add("shared", "sharedd:notesd")
        #expect(shared.status == 0, "\(shared)")
        let users = try readFile("\(etc)/passwd").split(separator: "\n").map {
          $0.split(separator: ":", omittingEmptySubsequences: false)
        }
        let user = try #require(users.last { $0[0] == "notesd" })
        let other = try #require(users.last { $0[0] == "sharedd" })
        #expect(user[3] == other[3] && user[2] != other[2])
        #expect(user[6].hasSuffix("nologin"), "\(user)")
        #expect(users.count { $0[0] == "notesd" } == 1)
        #expect(attributes("\(etc)/daemon-store/notes") == "\(user[2]):\(user[3]) 700")
        #expect(attributes("\(etc)/daemon-store/shared") == "\(other[2]):\(user[3]) 700")
        let list = try run(
          "/mnt/programs/daemon-store", ["template", "list", "--root", root])
        #expect(
          list.lines == ["notes   notesd:notesd   0700", "shared  sharedd:notesd  0700"], "\(list)")
        // Without either.
        let none = try run(
          "/mnt/programs/daemon-store",
          ["template", "add", "n", "--owner", "new:new", "--create-user", "--root", root],
          environment: ["PATH=/mnt/none"])
        #expect(none.status == 1 && none.complaints.count == 1, "\(none)")
        #expect(!exists("\(etc)/daemon-store/n"))
      }
    }
  }

  /// Killed at each call that changes something: what is there is the old or the new, and the next
  /// run finishes the work.
  @Test(arguments: ["mkdirat", "fchownat", "fchmodat", "renameat", "unlinkat", "fsync"])
  func aKillLeavesTheOldOrTheNew(call: String) async {
    await #expect(processExitsWith: .success) { [call] in
      inHost(.isolated) { host in
        for (before, time) in [("nothing", 1), ("1:1 750", 1), ("1:1 750", 2)] {
          if before != "nothing" { try host.template("notes", owner: 1, group: 1, mode: 0o750) }
          let arguments = ["template", "add", "notes", "--owner", "2:2"]
          let killed = try run(
            "strace",
            ["-f", "-qq", "-o", "/dev/null", "-e", "inject=\(call):signal=KILL:when=\(time)"]
              + ["/mnt/programs/daemon-store"] + arguments)
          #expect(killed.status == -SIGKILL || time == 2, "\(killed)")
          #expect(
            [before, "2:2 700"].contains(attributes(Self.place)), "\(attributes(Self.place))")
          try host.succeed("daemon-store", "template", "list")
          let again = try run("/mnt/programs/daemon-store", arguments)
          #expect(again.status == 0 && again.complaints.isEmpty, "\(again)")
          #expect(attributes(Self.place) == "2:2 700")
          #expect(try run("ls", ["-A", "/etc/daemon-store"]).lines == ["notes"])
          try host.succeed("daemon-store", "template", "remove", "notes")
        }
      }
    }
  }

  @Test func listAndCheckSayWhatIsThere() async {
    await #expect(processExitsWith: .success) {
      do {
        let listSchema = try Schema("template-list")
        let checkSchema = try Schema("template-check")
        inHost(.isolated) { host in
          let nothing = try host.succeed("daemon-store", "template", "list")
          #expect(nothing.lines == [])
          try host.template("alpha", owner: 1000)
          try host.template("b", group: 4321, mode: 0o1770)
          let list = try host.succeed("daemon-store", "template", "list")
          #expect(list.lines == ["alpha  alice:root  0700", "b      root:4321   01770"], "\(list)")
          var json = try host.succeed("daemon-store", "template", "list", "--json")
          #expect(try listSchema.violations(in: json.output) == "")
          #expect(try listSchema.violations(in: "{}") != "", "the schema refuses something")

          let fine = try host.succeed("daemon-store", "template", "check", "alpha")
          #expect(fine.lines == ["1 template, all in order"], "\(fine)")
          try host.refuse(
            status: 3, ["/etc/daemon-store/b: belongs to group 4321, which has no name"],
            "daemon-store", "template", "check")
          try host.refuse(
            status: 3, ["/etc/daemon-store/c: there is no such template"],
            "daemon-store", "template", "check", "c")
          try writeFile("/etc/group", "root:x:0:\nstaff:x:4321:\n")
          try host.succeed("daemon-store", "template", "check")
          try host.succeed("daemon-store", "startup")
          try host.succeed("daemon-store", "template", "check")
          // A store that is not in order is one problem in each tree.
          try unmountFilesystem("/run/daemon-store/alpha")
          let broken = try host.refuse(
            status: 3, ["/run/daemon-store/alpha: is not in order; run daemon-store startup"],
            "daemon-store", "template", "check")
          #expect(broken.complaints.count == 1, "\(broken)")
          #expect(
            try !mountTable().below("/run/daemon-store").contains { $0.target.hasSuffix("alpha") })
          try makeDirectory("/etc/daemon-store/_odd")
          json = try host.run("daemon-store", "template", "list", "--json")
          #expect(json.status == 3 && json.complains(of: "_odd: is not a store name"), "\(json)")
          #expect(try listSchema.violations(in: json.output) == "")
          json = try host.run("daemon-store", "template", "check", "--json")
          #expect(json.status == 3 && json.complaints.count == 2, "\(json)")
          #expect(try checkSchema.violations(in: json.output) == "")
        }
      } catch {
        Issue.record("\(error)")
      }
    }
  }
}
