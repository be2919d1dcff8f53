import TestSupport
import Testing

/// `make build` installs nothing: it names what is missing.
@Suite struct DependencyTests {
  /// A directory of programs, in which the script finds these and no others.
  private func check(with programs: [String]) throws -> Outcome {
    let links = programs.dropLast().map { "ln -s \"$(command -v \($0))\" \"$place\"\n" }.joined()
    return try TestSupport.run(
      "/bin/sh",
      [
        "-c",
        """
        place=$(mktemp -d) && trap 'rm -r "$place"' EXIT
        \(links)
        printf '#!/bin/sh\\n' > "$place/$1"; chmod 755 "$place/$1"
        env -i PATH="$place" /bin/sh "$0"
        """, projectFile("tools/dependencies.sh"), programs.last ?? "",
      ])
  }

  @Test(arguments: [
    ("apt-get", "apt-get install", "libmount-dev"), ("dnf", "dnf install", "libmount-devel"),
    ("pacman", "pacman -S", "util-linux-libs"), ("apk", "apk add", "util-linux-dev"),
    ("zypper", "zypper install", "libmount-devel"),
  ])
  func namesPackagesOfDistribution(manager: String, command: String, package: String) throws {
    let outcome = try check(with: ["sh", "cat", "cut", "sed", "grep", "echo", manager])
    #expect(outcome.status == 1 && outcome.output.isEmpty, "\(outcome)")
    #expect(outcome.complains(of: "install them as root with: \(command) ", package), "\(outcome)")
    #expect(outcome.complains(of: "missing: swift"), "\(outcome)")
  }

  @Test func findsEverythingHere() throws {
    let outcome = try TestSupport.run("/bin/sh", [projectFile("tools/dependencies.sh")])
    // The tests run where the programs were built; Swift need not be in the path of root.
    #expect(!outcome.complains(of: "install them"), "\(outcome)")
  }
}
