import Glibc
import Kernel
import TestSupport
import Testing

/// The version is in Sources/Kernel/Version.swift; everything else agrees with it.
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
  @Test func filesNameThePlaceThatTheyAreIn() throws {
    var template = Array("/tmp/install-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw Problem("mkdtemp") }
    let place = String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
    defer { _ = try? TestSupport.run("/bin/rm", ["-r", "--", place]) }
    let made = try TestSupport.run(
      "/usr/bin/make",
      [
        "-s", "-C", projectFile(""), "install", "BIN=\(try builtPrograms())", "DESTDIR=\(place)",
        "PREFIX=/opt/stores", "INIT=sysvinit upstart",
      ])
    guard made.status == 0 else { throw Problem("\(made)") }
    #expect(made.output.isEmpty && made.errors.isEmpty, "\(made)")

    let found = try TestSupport.run(
      "/bin/sh", ["-c", "cd \"$0\" && find . ! -type d -printf '%m %P\\n' | sort -k 2", place])
    let files = Set(found.lines.map { $0.split(separator: " ")[1] })
    for program in try TestSupport.run("/bin/ls", ["\(place)/opt/stores/bin"]).lines {
      let isThere = ["1", "8"].contains {
        files.contains("opt/stores/share/man/man\($0)/\(program).\($0)")
      }
      #expect(isThere, "\(program) has no manual page")
      for completion in [
        "bash-completion/completions/\(program)", "zsh/site-functions/_\(program)",
        "fish/vendor_completions.d/\(program).fish",
      ] {
        #expect(files.contains("opt/stores/share/\(completion)"))
      }
    }
    for file in [
      "etc/init.d/daemon-store-startup", "etc/init/daemon-store-startup.conf",
      "opt/stores/lib/systemd/system/daemon-store.target",
      "opt/stores/lib/systemd/system/daemon-store-user@.target",
      "opt/stores/lib/libdaemonstore.a",
    ] {
      #expect(files.contains(file[...]), "\(file)")
    }
    // Nobody else writes what root runs.
    #expect(found.lines.allSatisfy { ["644", "755", "777"].contains($0.prefix(3)) }, "\(found)")

    let strays = try TestSupport.run(
      "/bin/grep", ["-rIlE", "(Exec.*=|exec )/usr/bin/(cryptohome|daemon-store|minijail0)", place])
    #expect(strays.lines.allSatisfy { $0.contains("/examples/") }, "\(strays)")
    for script in ["init.d/daemon-store-startup", "init/daemon-store-startup.conf"] {
      let text = try readFile("\(place)/etc/\(script)")
      #expect(text.contains(" /opt/stores/bin/daemon-store startup\n"), "\(text)")
    }
    let page = try readFile("\(place)/opt/stores/share/man/man8/cryptohome.8")
    #expect(page.contains("\n.Os daemon-store \(version)\n"))
  }
}
