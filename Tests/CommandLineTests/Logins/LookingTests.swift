import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel
import TestSupport
import Testing

/// What a logout does to those whom it looks at, and whom it must not accuse.
@Suite(.needsRoot) struct LookingTests {
  private static let peekOffset: CInt = 42  // SO_PEEK_OFF
  private static let passProcess: CInt = 76  // SO_PASSPIDFD, Linux 6.5

  /// A connected pair with so many messages waiting at the second end, each with a file.
  private static func pair(
    waiting messages: Int = 1, of path: String = "/etc/passwd", setting option: CInt? = nil,
    to value: CInt = 0
  ) throws -> CInt {
    var ends: [CInt] = [-1, -1]
    try check("socketpair", nil, socketpair(AF_UNIX, CInt(SOCK_DGRAM.rawValue), 0, &ends))
    if let option {
      var value = value
      let size = socklen_t(MemoryLayout<CInt>.size)
      try check("setsockopt", nil, setsockopt(ends[1], SOL_SOCKET, option, &value, size))
    }
    for _ in 0..<messages {
      let descriptor = try check("open", path, open(path, O_RDONLY))
      try send(descriptor, over: ends[0])
      close(descriptor)
    }
    return ends[1]
  }

  @Test func anOffsetForPeekingStays() async {
    await #expect(processExitsWith: .success) {
      inHost(.shared) { host in
        try host.boot("alpha")
        try host.succeed("cryptohome", "mount", "guest", "--vault", "plain", "--owner", "7081:9")
        let socket = try Self.pair(setting: Self.peekOffset)
        let holder = try host.holder {
          try check("setresuid", nil, linux_setresuid(7081))
          try check("prctl", nil, linux_prctl(4, 1, 0, 0))  // PR_SET_DUMPABLE
        }
        // It was not looked at, and counts where that which is unseen does.
        try host.refuse(
          status: 3, [try shownName(of: holder), "perhaps a descriptor on the way to it"],
          "cryptohome", "unmount", "guest")
        var offset: CInt = -1
        var size = socklen_t(MemoryLayout<CInt>.size)
        try check(
          "getsockopt", nil, getsockopt(socket, SOL_SOCKET, Self.peekOffset, &offset, &size))
        #expect(offset == 0)
        try host.helpers.stop(holder)
        try host.logout("guest")
      }
    }
  }

  /// The kernel adds a descriptor of the sender to each message; a logout that kept them would run
  /// out of descriptors, and see nothing from there on.
  @Test func descriptorsOfSendersAreClosed() async {
    await #expect(processExitsWith: .success) {
      inHost(.shared) { host in
        try host.boot("alpha")
        try host.login("alice")
        let file = "/home/user/\(Host.alice)/file"
        try writeFile(file, "secret")
        _ = try host.holder {
          for _ in 0..<200 { _ = try Self.pair(setting: Self.passProcess, to: 1) }
        }
        let holder = try host.holder { try check("open", file, open(file, O_RDONLY)) }
        let outcome = try run(
          "prlimit", ["--nofile=100", "/mnt/programs/cryptohome", "unmount", "alice"])
        #expect(outcome.status == 3, "\(outcome)")
        #expect(outcome.complains(of: try shownName(of: holder), "open file"), "\(outcome)")
        try host.helpers.stop(holder)
        try host.logout("alice")
      }
    }
  }
}
