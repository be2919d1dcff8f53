import Glibc
import DaemonStoreKernel
import TestSupport
import Testing

/// The version is in Sources/DaemonStoreKernel/Version.swift; everything else agrees with it.
@Suite struct VersionTests {
  @Test(arguments: [
    "cryptohome", "cryptohomed", "daemon-store", "minijail0", "sandboxed-services",
    "seccomp-policy",
  ])
  func everyProgramPrintsIt(program: String) throws {
    let outcome = try TestSupport.run("\(try builtPrograms())/\(program)", ["--version"])
    #expect(outcome.status == 0 && outcome.output == "\(version)\n", "\(outcome)")
  }

  @Test func theChangelogsAreAboutIt() throws {
    let debian = try readFile(projectFile("debian/changelog"))
    #expect(debian.hasPrefix("daemon-store (\(version)) "))
    let headings = try readFile(projectFile("CHANGELOG.md")).split(separator: "\n")
      .filter { $0.hasPrefix("## ") }
    #expect(
      headings.first == "## [Unreleased]"
        || headings.first?.hasPrefix("## [\(version)] - ") == true,
      "\(headings)")
  }
}

/// What `make install` brings, which is what the Debian packages are made of.
@Suite struct InstallTests {
  @Test(arguments: ["/usr", "/usr/local"])
  func filesAreWhereTheyAreLookedForAndNameWhereTheyAre(prefix: String) throws {
    var template = Array("/tmp/install-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw Problem("mkdtemp") }
    let place = String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
    defer { _ = try? TestSupport.run("/bin/rm", ["-r", "--", place]) }
    let made = try TestSupport.run(
      "/usr/bin/make",
      [
        "-s", "-C", projectFile(""), "install", "BIN=\(try builtPrograms())", "DESTDIR=\(place)",
        "PREFIX=\(prefix)/", "INIT=sysvinit upstart",
      ])
    guard made.status == 0 else { throw Problem("\(made)") }
    #expect(made.output.isEmpty && made.errors.isEmpty, "\(made)")

    let found = try TestSupport.run(
      "/bin/sh", ["-c", "cd \"$0\" && find . ! -type d -printf '%m %P\\n' | sort -k 2", place])
    let files = Set(found.lines.map { "/" + $0.split(separator: " ")[1] })
    for program in try TestSupport.run("/bin/ls", ["\(place)\(prefix)/bin"]).lines {
      let isThere = ["1", "8"].contains {
        files.contains("\(prefix)/share/man/man\($0)/\(program).\($0)")
      }
      #expect(isThere, "\(program) has no manual page")
      for completion in [
        "bash-completion/completions/\(program)", "zsh/site-functions/_\(program)",
        "fish/vendor_completions.d/\(program).fish",
      ] {
        #expect(files.contains("\(prefix)/share/\(completion)"))
      }
    }
    for file in [
      "/etc/init.d/daemon-store-startup", "/etc/init/daemon-store-startup.conf",
      "/etc/init.d/cryptohomed", "/etc/init/cryptohomed.conf",
      "\(prefix)/lib/systemd/system/daemon-store.target",
      "\(prefix)/lib/systemd/system/daemon-store-user@.target",
      "\(prefix)/lib/sysusers.d/daemon-store.conf", "\(prefix)/lib/tmpfiles.d/daemon-store.conf",
      "\(prefix)/share/dbus-1/system-services/org.daemonstore.Manager1.service",
      "\(prefix)/lib/libdaemonstore.a", "/usr/share/pam-configs/daemonstore",
    ] {
      #expect(files.contains(file), "\(file)")
    }
    #expect(
      files.filter { $0.hasSuffix("/org.daemonstore.Manager1.conf") } == [
        (prefix == "/usr" ? "/usr/share" : "/etc")
          + "/dbus-1/system.d/org.daemonstore.Manager1.conf"
      ])
    // Nobody else writes what root runs.
    #expect(found.lines.allSatisfy { ["644", "755", "777"].contains($0.prefix(3)) }, "\(found)")

    // Whatever names a program of ours names the one that is installed.
    let names = try TestSupport.run(
      "/bin/sh",
      [
        "-c",
        """
        cd "$0" && grep -rIhoE --exclude-dir=man '/[a-z/]*bin/(cryptohomed?|daemon-store|minijail0)( |$)' .
        """, place,
      ])
    let programs = Set(names.lines.map { $0.prefix { $0 != " " } })
    var expected: Set = ["cryptohomed", "daemon-store", "minijail0"]
    if prefix != "/usr" { expected.insert("cryptohome") }  // in the PAM profile
    #expect(programs == Set(expected.map { "\(prefix)/bin/\($0)" }), "\(names)")
    let page = try readFile("\(place)\(prefix)/share/man/man8/cryptohome.8")
    #expect(page.contains("\n.Os daemon-store \(version)\n"))
  }

  /// Instead of half an installation, or one elsewhere.
  @Test(arguments: [
    "PREFIX=usr", "PREFIX=/usr /opt", "PREFIX=", "INIT=runit", "INIT=sysvinit runit",
  ])
  func whatCannotBeFollowedIsRefused(variable: String) throws {
    let made = try TestSupport.run(
      "/usr/bin/make",
      ["-s", "-C", projectFile(""), "install", "BIN=/dev/null", "DESTDIR=/dev/null", variable])
    let name = variable.prefix { $0 != "=" }
    #expect(
      made.status == 2 && made.output.isEmpty && made.errors.contains("*** \(name) is \""),
      "\(made)")
    #expect(made.errors.split(separator: "\n").count == 1, "\(made)")
  }
}
