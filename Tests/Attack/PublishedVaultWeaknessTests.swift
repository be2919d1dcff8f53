import Glibc
import TestSupport
import Testing

/// Published weaknesses of fscrypt, pam_mount, pam_namespace, eCryptfs, libmount and udisks, tried
/// on cryptohome.
@Suite(.needsRoot, .tags(.attack)) struct PublishedVaultWeaknessTests {
  /// CVE-2022-25326, CVE-2022-25327 (fscrypt): metadata that is huge, or hangs who reads it.
  @Test(arguments: [
    "mkfifo vault.json", "truncate -s 1G vault.json", "ln -s /etc/shadow vault.json",
    "mkdir vault.json", "head -c 100000 /dev/zero | tr '\\\\0' '[' > vault.json",
    "printf '\\\\377\\\\376{' > vault.json", "mknod vault.json c 1 5",
  ])
  func hostileVaultFileIsRefusedAtOnce(command: String) async {
    await #expect(processExitsWith: .success) { [command] in
      inEncryptedHost { host in
        try host.boot("alpha")
        try host.create("alice")
        let made = try host.script("cd /home/.shadow/\(Host.alice) && rm vault.json && \(command)")
        #expect(made.status == 0, "\(made)")
        for verb in [["mount", "alice"], ["passwd", "alice"], ["key", "list", "alice"]] {
          let outcome = try TestSupport.run(
            "/mnt/programs/cryptohome", verb, stdin: "secret\nother\n")
          #expect(outcome.status == 1, "\(outcome)")
          #expect(
            outcome.complaints.count == 1 && outcome.complains(of: "vault.json"), "\(outcome)")
        }
        try host.expectGone(Host.alice, from: ["alpha"])
        // The control: a program that reads the whole of what is there, wherever it leads.
        try writeFile("/etc/shadow", "{}")
        let naive = try host.script(
          "ulimit -v 500000; timeout 3 python3 -IS -c 'import json, sys; json.load(open(sys.argv[1]))' "
            + "/home/.shadow/\(Host.alice)/vault.json")
        let isFollowed = command.utf8.starts(with: "ln ".utf8)
        #expect(
          isFollowed ? naive.status == 0 : naive.status == 124 || naive.complaints.count > 1,
          "\(naive)")
      }
    }
  }

  /// CVE-2016-1572 (eCryptfs): a mount over /proc. CVE-2025-6020 (pam_namespace), CVE-2011-1831,
  /// CVE-2011-1832 (eCryptfs): a mount point that its user can replace. CVE-2024-22365
  /// (pam_namespace): one that hangs who opens it.
  @Test(arguments: [
    ("/proc/1/cwd", ""), ("/proc", ""), ("/", ""), ("/home/alice/inner", ""),
    ("/home/alice", "rmdir /home/alice/inner /home/alice; ln -s /etc /home/alice"),
    ("/home/alice", "rmdir /home/alice/inner /home/alice; mkfifo /home/alice"),
    ("/home/.shadow/alice", "mkdir /home/.shadow/alice"), ("/home/alice/../../etc", ""),
  ])
  func homeThatUserCouldMoveIsNotCovered(home: String, preparation: String) async {
    await #expect(processExitsWith: .success) { [home, preparation] in
      inEncryptedHost { host in
        try host.boot("alpha")
        try makeDirectory("/home/.shadow", mode: 0o711)
        try makeDirectory("/home/alice", owner: 1000, group: 1000, mode: 0o755)
        try makeDirectory("/home/alice/inner", owner: 1000, group: 1000, mode: 0o755)
        let prepared = try host.script(
          "sed -i 's|^\\(alice:.*\\):/home/user:|\\1:\(home):|' /etc/passwd; \(preparation)")
        #expect(prepared.status == 0, "\(prepared)")
        // The control: mount(8) covers what the path leads to, and a shell that opens a pipe waits for ever.
        // Not every process 1 lets root follow its links.
        let path = home == "/proc/1/cwd" ? "/proc/self/cwd" : home
        let naive = try host.script(
          "timeout 1 unshare --mount sh -c ': < $0; mount -t tmpfs naive $0' '\(path)'; echo $?")
        let isPipe = preparation.utf8.reversed().starts(with: "mkfifo /home/alice".utf8.reversed())
        #expect(naive.lines == (isPipe ? ["124"] : ["0"]), "\(naive)")
        let before = try host.table().count
        let made = try host.run(lines: "secret", arguments: "create", "alice", "--home")
        let outcome = try host.run(lines: "secret", arguments: "mount", "alice")
        #expect(made.status != 0 || outcome.status != 0, "\(made)\(outcome)")
        #expect(!(made.complaints + outcome.complaints).isEmpty, "\(made)\(outcome)")
        let places = try host.table().dropFirst(before).map(\.target)
        for place in ["/proc", "/etc", "/", home] { #expect(!places.contains(place), "\(places)") }
      }
    }
  }

  /// CVE-2021-3995, CVE-2021-3996 (libmount): text of the mount table that its attacker chose.
  @Test func decoysInMountTableAreNotUnmounted() async {
    await #expect(processExitsWith: .success) {
      inHost(.shared) { host in
        try host.boot("alpha")
        try host.login("alice", "bob")
        let vault = "/home/.shadow/\(Host.alice)/mount/root/alpha"
        for (place, source) in [
          ("/mnt/source", vault), ("/mnt/deleted (deleted)", "\(vault)//deleted"),
          ("/mnt/\(Host.alice)", "tmpfs"), ("/mnt/line\nfeed \(vault)", "none"),
        ] {
          try makeDirectory(place)
          try mountFilesystem(source, place, "tmpfs")
        }
        // The same by an ordinary user, in a namespace that a logout looks at too.
        let mallory = try host.helpers.start(
          "setpriv", "--reuid=1009", "--regid=1009", "--clear-groups", "unshare", "-Urm", "sh",
          "-c",
          "mount -t tmpfs \(vault) /mnt/source && mount -t tmpfs none '/mnt/\(Host.alice)' "
            + "&& echo ready && kill -STOP $$")
        let theirs = try mountTable(of: mallory).below("/mnt").count
        // The control: umount(8) for each line of the table that names alice.
        let naive = try host.script(
          "unshare --mount sh -c 'grep \(Host.alice) /proc/self/mountinfo | cut -d\" \" -f5 | "
            + "while read -r place; do umount -l \"$(printf \"$place\")\"; done 2>/dev/null; "
            + "cut -d\" \" -f5 /proc/self/mountinfo | grep -c ^/mnt/'")
        #expect((naive.lines.first.flatMap { Int($0) } ?? 5) < 5, "\(naive)")
        try host.logout("alice")
        #expect(try mountTable(of: mallory).below("/mnt").count == theirs)
        try host.helpers.stop(mallory)
        try host.expectMounted(Host.bob, in: ["alpha"])
        let decoys = try host.table().filter { $0.target.utf8.starts(with: "/mnt/".utf8) }
        #expect(decoys.count >= 5, "\(decoys)")  // with /mnt/programs
      }
    }
  }

  /// CVE-2025-6019 (udisks): a moment in which the mount lacks nosuid and nodev.
  @Test func mountsOfUserAreNeverWithoutTheirFlags() async {
    await #expect(processExitsWith: .success) {
      inHost(.shared) { host in
        try host.boot("alpha")
        let outcome = try host.script(
          """
          cat > /mnt/watch <<'END'
          import os, select, sys
          table = open("/proc/self/mountinfo", "rb")
          poll = select.poll(); poll.register(table, select.POLLPRI)
          stop = os.open("/mnt/stop", os.O_RDONLY | os.O_NONBLOCK)
          poll.register(stop, select.POLLIN)
          print("ready", flush=True)
          bad = set()
          while True:
              events = dict(poll.poll())
              table.seek(0)
              for line in table.read().splitlines():
                  if sys.argv[1].encode() in line and not (b"nosuid" in line and b"nodev" in line):
                      bad.add(line)
              if stop in events: break
          print("without flags:", len(bad))
          END
          watch() {
            rm -f /mnt/stop /mnt/ready; mkfifo /mnt/stop /mnt/ready
            python3 /mnt/watch $1 > /mnt/said & python3 -c 'import time
          while "ready" not in open("/mnt/said").read(): time.sleep(0.01)'
          }
          watch \(Host.alice)
          for round in 1 2 3 4 5; do
            cryptohome mount alice --vault plain > /dev/null && cryptohome unmount alice > /dev/null
          done
          echo stop > /mnt/stop; wait; grep flags /mnt/said
          watch decoy
          mkdir /mnt/decoy; mount --bind /run /mnt/decoy; sleep 0.3
          mount -o remount,bind,nosuid,nodev /mnt/decoy
          echo stop > /mnt/stop; wait; grep flags /mnt/said
          """)
        #expect(outcome.lines.first == "without flags: 0", "\(outcome)")
        #expect(outcome.lines.last == "without flags: 1", "\(outcome)")
      }
    }
  }

  /// CVE-2018-6954 (systemd-tmpfiles): an owner is set through a link.
  @Test func ownerIsNotSetThroughLinkInVault() async {
    await #expect(processExitsWith: .success) {
      inHost(.shared) { host in
        try host.boot("alpha")
        try host.login("alice")
        try host.logout("alice")
        let before = attributes("/etc")
        let outcome = try host.script(
          """
          cd /home/.shadow/\(Host.alice)/mount/root
          rmdir alpha && ln -s /etc alpha && cryptohome mount alice
          """)
        #expect(outcome.status == 3 && outcome.complains(of: "alpha"), "\(outcome)")
        #expect(attributes("/etc") == before)
        let naive = try host.script("cd /home/.shadow/\(Host.alice)/mount/root && chown 5:60 alpha")
        #expect(naive.status == 0 && attributes("/etc") != before, "control: \(attributes("/etc"))")
      }
    }
  }

  /// CVE-2018-6558 (fscrypt): the process of the login keeps other privileges than it had.
  @Test func loginProcessIsTheSameAfterwards() async {
    await #expect(processExitsWith: .success) {
      inEncryptedPamMachine { machine in
        try writeFile("/mnt/client.py", Self.client)
        let outcome = try machine.run("python3", "/mnt/client.py", PamMachine.password)
        // The control: a program that changes its ids for a while, and forgets its groups.
        #expect(
          outcome.lines == ["opened", "same", "closed", "same", "control: not the same"],
          "\(outcome)")
      }
    }
  }

  /// Logs alice in through libpam, and compares what the process is before and after.
  private static let client = """
    import ctypes, ctypes.util, os, resource, signal, sys
    libc = ctypes.CDLL(None)
    libc.calloc.restype = ctypes.c_void_p
    libc.strdup.restype = ctypes.c_void_p
    libpam = ctypes.CDLL("libpam.so.0")
    Conversation = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p,
        ctypes.POINTER(ctypes.c_void_p), ctypes.c_void_p)
    class Response(ctypes.Structure):
        _fields_ = [("text", ctypes.c_void_p), ("code", ctypes.c_int)]
    class Talk(ctypes.Structure):
        _fields_ = [("function", Conversation), ("data", ctypes.c_void_p)]
    def answer(count, messages, answers, data):
        list = libc.calloc(count, ctypes.sizeof(Response))
        responses = ctypes.cast(list, ctypes.POINTER(Response))
        for i in range(count): responses[i].text = libc.strdup(sys.argv[1].encode())
        answers[0] = list
        return 0
    def state():
        keep = ("Uid", "Gid", "Groups", "Cap", "Sig", "NoNewPrivs", "Seccomp", "Umask")
        # SigQ counts the signals that wait for all processes of the user.
        status = [line for line in open("/proc/self/status")
                  if line.startswith(keep) and not line.startswith("SigQ")]
        limits = [resource.getrlimit(kind) for kind in range(16)]
        descriptors = sorted(os.listdir("/proc/self/fd"))
        places = [os.readlink("/proc/self/" + name) for name in ("cwd", "root", "ns/mnt")]
        return (status, limits, descriptors, places, os.getpgrp(), os.getsid(0),
                dict(os.environ), signal.getsignal(signal.SIGCHLD))
    handle = ctypes.c_void_p()
    talk = Talk(Conversation(answer), None)
    assert libpam.pam_start(b"login", b"alice", ctypes.byref(talk), ctypes.byref(handle)) == 0
    before = state()
    assert libpam.pam_authenticate(handle, 0) == 0
    assert libpam.pam_open_session(handle, 0) == 0
    hash = "\(Host.alice)"
    print("opened" if os.path.isdir("/home/user/" + hash) else "not opened")
    now = state()
    print("same" if now == before else [pair for pair in zip(before, now) if pair[0] != pair[1]])
    assert libpam.pam_close_session(handle, 0) == 0
    print("not closed" if os.path.isdir("/home/user/" + hash) else "closed")
    now = state()
    print("same" if now == before else [pair for pair in zip(before, now) if pair[0] != pair[1]])
    libpam.pam_end(handle, 0)
    os.setgroups([5]); before = state()
    os.setgroups([1000]); os.setegid(1000); os.seteuid(1000); os.seteuid(0); os.setegid(0)
    print("control:", "not the same" if state() != before else "same")
    """

  /// CVE-2022-25328 (fscrypt): a completion script runs what a name says.
  @Test func completionRunsNothingThatNamesSay() async {
    await #expect(processExitsWith: .success) {
      inHost(.shared) { host in
        try host.boot("alpha")
        for place in ["/etc/daemon-store", "/run/daemon-store", "/mnt/cwd"] {
          if !exists(place) { try makeDirectory(place) }
          for name in ["$(touch${IFS}pwned)", "`touch${IFS}pwned`", "a;touch pwned", "*"] {
            _ = mkdir("\(place)/\(name)", 0o755)
          }
        }
        let outcome = try host.script(
          """
          cat > /mnt/complete <<'END'
          . "/mnt/programs/completions/$1.bash"
          \(bashCompletion)
          END
          cd /mnt/cwd
          for words in "minijail0 --daemon-store" "daemon-store status" "daemon-store tree" \
            "cryptohome mount" "minijail0 -S" "minijail0 -b"; do
            bash /mnt/complete $words '' 2>&1
          done > /mnt/said
          grep -x alpha /mnt/said
          find / -xdev -name pwned; find /mnt/cwd /run /etc -name pwned
          eval "echo $(ls -d '$(touch'*)" ; find /mnt/cwd -name pwned
          """)
        // The store is offered, no name has run, and the naive way runs one.
        #expect(outcome.lines == ["alpha", "/mnt/cwd/pwned"], "\(outcome)")
      }
    }
  }
}
