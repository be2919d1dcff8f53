import TestSupport
import Testing

/// A user who owns a directory of the new root, or of a path on the command line, decides by
/// symbolic links and renames where the launcher makes files.
@Suite(.needsRoot, .tags(.attack)) struct DestinationAttacks {
  /// A new root with a directory of nobody's, whose link `data` has a component that begins with a
  /// combining mark: with the slash before it, it is one Swift `Character`.
  private static let root = """
    mkdir -p outside newroot/bin newroot/var/lib/app && chmod 755 outside
    chown 65534:65534 newroot/var/lib/app
    nobody='setpriv --reuid 65534 --regid 65534 --clear-groups'
    cd newroot/var/lib/app
    $nobody ln -s /mnt/outside out
    $nobody ln -s "$(printf 'out/\\314\\201x.sh')" data
    cd /mnt

    """

  @Test(arguments: [
    "-P /mnt/newroot -b /mnt/src/file,/var/lib/app/data",
    "-P /mnt/newroot -b /mnt/src,/var/lib/app/data",
    "-v -C /mnt/newroot -b /mnt/src/file,/var/lib/app/data",
    "-P /mnt/newroot -k none,/var/lib/app/data,tmpfs",
    "-P /mnt/newroot -k /mnt/src,/var/lib/app/data,none,MS_BIND",
  ])
  func linkWithCombiningMarkStaysInNewRoot(_ options: String) throws {
    let outcome = try CommandLine.run(
      Self.root + "minijail0 -u nobody -g nogroup -b /mnt/bin,/bin \(options) -T static -- "
        + "/bin/static; echo $?; ls -A outside | wc -l")
    #expect(outcome.lines == ["static", "7", "0"], "\(outcome)")
  }

  /// The shell looks the same path up from outside.
  @Test func linkWithCombiningMarkLeadsOutsideForShell() throws {
    let outcome = try CommandLine.run(
      Self.root + ": > newroot/var/lib/app/data; ls -A outside | wc -l")
    #expect(outcome.output == "1\n", "\(outcome)")
  }

  /// Waits for each new mount point, and renames a file or directory of root's over it.
  private static let racer = """
    cat > racer.c <<'E'
    #include <stdio.h>
    #include <unistd.h>
    int main(int count, char **words) {
      for (int i = 0; i < 100; i++) {
        char from[32], to[32];
        sprintf(from, "victim%d", i);
        sprintf(to, "data%d", i);
        while (access(to, F_OK)) ;
        rename(from, to);
      }
    }
    E
    cc -O2 -o racer racer.c
    mkdir -p newroot/bin newroot/att
    names=$(seq 0 99)
    nobody='setpriv --reuid 65534 --regid 65534 --clear-groups'
    # Root's files are not empty, and a mount point that was made is.
    prepare() {
      rm -rf newroot/att; mkdir newroot/att
      for i in $names; do
        if [ $1 = dir ]; then mkdir -p newroot/att/victim$i/x; else echo root > newroot/att/victim$i; fi
      done
      chown 65534:65534 newroot/att
    }
    given() {
      if [ $1 = dir ]; then
        find newroot/att -mindepth 1 -maxdepth 1 -user 65534 -links +2 | wc -l
      else
        find newroot/att -type f -user 65534 -size +0 | wc -l
      fi
    }
    race() {
      prepare $1
      (cd newroot/att && exec $nobody /mnt/racer) & racer=$!
      $2 $1 > /dev/null 2>&1
      kill $racer; wait $racer
      given $1
    } 2> /dev/null

    """

  /// On the version that looked the name up again, 2 % of the tries succeeded with files: so
  /// 150 tries show it with a probability of 95 %, and ten times as many are made.
  @Test(arguments: ["file", "dir"])
  func renamedFileKeepsItsOwner(_ kind: String) throws {
    let source = kind == "dir" ? "/mnt/src" : "/mnt/src/file"
    let outcome = try CommandLine.run(
      Self.racer
        + """
        binds=; for i in $names; do binds="$binds -b \(source),/att/data$i"; done
        jail() {
          minijail0 -u nobody -g nogroup -P /mnt/newroot -b /mnt/bin,/bin $binds -T static -- /bin/static
        }
        for round in $(seq 15); do race \(kind) jail; done | sort | uniq -c | tr -s ' '
        """)
    #expect(outcome.output == " 15 0\n", "\(outcome)")
  }

  /// mkdir(1), touch(1) and chown(1) are two look-ups of a name.
  @Test func renamedFileIsGivenAwayByShell() throws {
    let outcome = try CommandLine.run(
      Self.racer
        + """
        naive() {
          for i in $names; do
            : > newroot/att/data$i
            chown 65534:65534 newroot/att/data$i
          done
        }
        race file naive
        """)
    #expect((Int(outcome.lines.first ?? "") ?? 0) > 0, "\(outcome)")
  }

  // MARK: Links without a new root

  private static let links = """
    mkdir -m 700 secret; echo topsecret > secret/file; mkdir outside share
    as='setpriv --reuid 1000 --regid 1000 --clear-groups'
    $as ln -s /mnt/secret user/source
    $as ln -s /mnt/outside/z.sh user/target

    """

  @Test(arguments: [
    (
      "-b /mnt/user/source,/mnt/share",
      "the source leads through the symbolic link "
        + "/mnt/user/source of user 1000"
    ),
    ("-k /mnt/user/source,/mnt/share,none,MS_BIND", "/mnt/user/source of user 1000"),
    (
      "-v -b /mnt/src/file,/mnt/user/target",
      "the target leads through the symbolic link "
        + "/mnt/user/target of user 1000"
    ),
  ])
  func linkOfOtherUserIsReportedAndRefusedWithStrict(
    _ options: String, _ text: String
  ) throws {
    let outcome = try CommandLine.run(
      Self.links + "minijail0 -v \(options) -- /bin/echo ran; minijail0 --strict -v "
        + "-b /mnt/src,/mnt/a \(options) -- /bin/echo ran-strict; echo $?")
    #expect(outcome.lines == ["ran", "251"], "\(outcome)")
    let lines = outcome.errors.split(separator: "\n")
    #expect(lines.count == 2 && lines.first?.contains(text) == true, "\(outcome)")
    #expect(
      lines.last?.contains("--strict: follow a symbolic link of user 1000") == true, "\(outcome)")
  }

  @Test func strictMakesNoFileBehindLinkOfOtherUser() throws {
    let outcome = try CommandLine.run(
      Self.links + "minijail0 --strict -v -b /mnt/src/file,/mnt/user/target -- /bin/true; "
        + "ls -A outside | wc -l; touch user/target; ls -A outside | wc -l")
    #expect(outcome.lines == ["0", "1"], "\(outcome)")
  }

  @Test func linksOfRootAndOfCallerAreFollowedSilently() throws {
    let outcome = try CommandLine.run(
      "ln -s /mnt/src link; minijail0 --strict -v -b /mnt/link,/mnt/a -- /bin/cat /mnt/a/file")
    #expect(outcome.output == "text\n" && outcome.errors.isEmpty, "\(outcome)")
  }
}
