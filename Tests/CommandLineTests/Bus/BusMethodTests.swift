import Glibc
import DaemonStoreKernel
import TestSupport
import Testing

/// Each method, asked by the clients that people have.
@Suite(.needsRoot) struct BusMethodTests {
  @Test func everyInterfaceIsIntrospectable() async {
    await #expect(processExitsWith: .success) {
      inBusMachine { machine in
        let service = try machine.startService()
        let manager = try machine.run([
          "busctl", "--system", "introspect", BusMachine.manager, "/org/daemonstore/Manager1",
          BusMachine.manager,
        ])
        for line in [
          ".Mount method sha{sv} sas", ".Unmount method sa{sv} bas", ".List method - a(sbas)",
          ".GetStore method ss sb", ".Delay method ss h", ".StoreMounted signal ss",
          ".StoreUnmounting signal ss", ".StoreUnmounted signal ss", ".UserMounted signal s",
          ".UserUnmounted signal s", ".MountedUsers property as", ".SessionState property s",
          ".DelayMaxUSec property t", ".Version property s",
        ] {
          #expect(
            manager.lines.contains {
              $0.split(separator: " ").prefix(4).joined(separator: " ").hasPrefix(line)
            }, "\(line): \(manager)")
        }
        for (name, words) in [
          (BusMachine.manager, ["in  h password_fd", "out h delay_fd", "s hash"]),
          ("org.chromium.Cryptohome", ["org.chromium.CryptohomeInterface", "in  s username"]),
          ("org.chromium.SessionManager", ["SessionStateChanged(s state)", "out a{ss} sessions"]),
          (
            "org.chromium.UserDataAuth",
            ["org.chromium.UserDataAuthInterface", "org.chromium.CryptohomeMiscInterface"]
          ),
        ] {
          let path = "/" + name.replacing(".", with: "/")
          let outcome = try machine.run([
            "gdbus", "introspect", "--system", "--dest", name, "--object-path", path,
          ])
          for word in words { #expect(outcome.output.contains(word), "\(word): \(outcome)") }
        }
        service.kill()
      }
    }
  }

  @Test func managerSaysWhoIsWhere() async {
    await #expect(processExitsWith: .success) {
      inBusMachine { machine in
        let service = try machine.startService()
        try machine.expect("(@a(sbas) [],)", from: "Manager1.List")
        let path = "/run/daemon-store/alpha/\(Host.alice)"
        try machine.expect("('\(path)', false)", from: "Manager1.GetStore", "alpha", "alice")
        try machine.succeed("cryptohome", "mount", "alice", "--vault", "plain")
        try machine.succeed("cryptohome", "mount", "bob", "--vault", "ephemeral")
        // Without a pause: what was mounted before the question is in the answer.
        try machine.expect(
          "([('\(Host.alice)', false, ['alpha', 'bravo']), "
            + "('\(Host.bob)', true, ['alpha', 'bravo'])],)", from: "Manager1.List")
        for user in ["alice", "ALICE", Host.alice] {
          try machine.expect(
            "('\(path)', true)", from: "Manager1.GetStore", "alpha", user, as: "bob")
        }
        let properties = try machine.run([
          "busctl", "--system", "get-property", BusMachine.manager, "/org/daemonstore/Manager1",
          BusMachine.manager, "DelayMaxUSec", "MountedUsers", "SessionState", "Version",
        ])
        #expect(
          properties.lines == [
            "t 2000000", "as 2 \"\(Host.alice)\" \"\(Host.bob)\"", "s \"started\"",
            "s \"\(version)\"",
          ], "\(properties)")
        let list = try machine.run([
          "dbus-send", "--system", "--print-reply=literal", "--dest=\(BusMachine.manager)",
          "/org/daemonstore/Manager1", "\(BusMachine.manager).List",
        ])
        #expect(list.status == 0 && list.output.contains(Host.bob), "\(list)")
        service.kill()
        #expect(machine.log == "")
      }
    }
  }

  @Test func managerMountsAndUnmounts() async {
    await #expect(processExitsWith: .success) {
      inBusMachine { machine in
        let service = try machine.startService()
        try machine.succeed("cryptohome", "mount", "alice", "--vault", "plain")
        try machine.expect("(true, @as [])", from: "Manager1.Unmount", "alice", "{}")
        #expect(try machine.mounts(of: Host.alice).isEmpty)
        // Standard input is the descriptor.
        try machine.expect(
          "('\(Host.alice)', @as [])", from: "Manager1.Mount", "alice", "0", "{}")
        #expect(try machine.mounts(of: Host.alice).count == 6)
        try machine.expect(
          "('\(Host.alice)', @as [])", from: "Manager1.Mount", "alice", "0", "{}")
        #expect(try machine.mounts(of: Host.alice).count == 6)

        let guest = try machine.call(
          "Manager1.Mount", "guest", "0",
          "{'vault': <'ephemeral'>, 'owner': <'5:5'>, 'size': <uint64 1048576>}")
        #expect(guest.lines == ["('\(Host.guest)', @as [])"], "\(guest)")
        let holder = try machine.client("hold", "/home/user/\(Host.alice)")
        try holder.wait(for: "held")
        let busy = try machine.call("Manager1.Unmount", "alice", "{'wait': <'0s'>}")
        #expect(
          busy.status == 0 && busy.output.hasPrefix("(false, [")
            && busy.output.contains("still held by python3"), "\(busy)")
        holder.kill()
        try machine.expect(
          "(true, @as [])", from: "Manager1.Unmount", "alice", "{'wait': <'20s'>}")
        service.kill()
        #expect(machine.log == "")
      }
    }
  }

  @Test func passwordsComeByDescriptor() async {
    await #expect(processExitsWith: .success) {
      inEncryptedHost { host in
        let created = try host.run(lines: "secret", arguments: "create", "alice")
        #expect(created.status == 0, "\(created)")
        let machine = try BusMachine(host)
        let service = try machine.startService()
        let wrong = try machine.run(["python3", "/etc/client.py", "mount", "alice", "wrong"])
        #expect(
          wrong.output.hasPrefix("org.daemonstore.Error.Failed alice: ")
            && wrong.output.contains("the vault stays locked"), "\(wrong)")
        #expect(try machine.mounts(of: Host.alice).isEmpty)
        let right = try machine.run(
          ["python3", "/etc/client.py", "mount", "alice", "secret"], as: "alice")
        #expect(right.lines == ["done \(Host.alice)"], "\(right)")
        #expect(!(try machine.mounts(of: Host.alice).isEmpty))
        try machine.expect("(true, @as [])", from: "Manager1.Unmount", "alice", "{}", as: "alice")
        #expect(try host.keyState(of: Host.alice) == "absent")
        service.kill()
        #expect(machine.log == "")
      }
    }
  }

  @Test func olderNamesAreServed() async {
    await #expect(processExitsWith: .success) {
      inBusMachine { machine in
        let service = try machine.startService()
        try machine.expect("('stopped',)", from: "SessionManagerInterface.RetrieveSessionState")
        try machine.expect("('', '')", from: "SessionManagerInterface.RetrievePrimarySession")
        try machine.expect(
          "(@a{ss} {},)", from: "SessionManagerInterface.RetrieveActiveSessions")
        try machine.expect("(false,)", from: "CryptohomeInterface.IsMounted")
        try machine.expect("(false,)", from: "SessionManagerInterface.IsGuestSessionActive")
        try machine.succeed("cryptohome", "mount", "bob", "--vault", "ephemeral")
        try machine.expect("(true,)", from: "SessionManagerInterface.IsGuestSessionActive")
        try machine.expect("('', '')", from: "SessionManagerInterface.RetrievePrimarySession")
        try machine.succeed("cryptohome", "mount", "alice", "--vault", "plain")

        for user in ["alice", "bob"] {
          try machine.expect("(true,)", from: "CryptohomeInterface.IsMounted", as: user)
          try machine.expect(
            "('started',)", from: "SessionManagerInterface.RetrieveSessionState", as: user)
        }
        try machine.expect(
          "(true, false)", from: "CryptohomeInterface.IsMountedForUser", "alice")
        try machine.expect("(true, true)", from: "CryptohomeInterface.IsMountedForUser", "bob")
        try machine.expect("(false, false)", from: "CryptohomeInterface.IsMountedForUser", "carol")
        try machine.expect(
          "('\(Host.alice)',)", from: "CryptohomeInterface.GetSanitizedUsername", "Alice")
        try machine.expect("(false,)", from: "SessionManagerInterface.IsGuestSessionActive")
        try machine.expect(
          "('alice', '\(Host.alice)')", from: "SessionManagerInterface.RetrievePrimarySession")
        let sessions = try machine.run([
          "busctl", "--system", "call", "org.chromium.SessionManager",
          "/org/chromium/SessionManager", "org.chromium.SessionManagerInterface",
          "RetrieveActiveSessions",
        ])
        #expect(
          sessions.lines == ["a{ss} 2 \"bob\" \"\(Host.bob)\" \"alice\" \"\(Host.alice)\""],
          "\(sessions)")
        let salt = try machine.run([
          "busctl", "--system", "call", "org.chromium.Cryptohome", "/org/chromium/Cryptohome",
          "org.chromium.CryptohomeInterface", "GetSystemSalt",
        ])
        let bytes = Host.salt.utf8.map { "\($0)" }.joined(separator: " ")
        #expect(salt.lines == ["ay 16 \(bytes)"], "\(salt)")
        service.kill()
        #expect(machine.log == "")
      }
    }
  }

  /// The messages by hand: a tag, a length, the bytes.
  @Test func protobufFormsAreServed() async {
    await #expect(processExitsWith: .success) {
      inBusMachine { machine in
        let service = try machine.startService()
        try machine.succeed("cryptohome", "mount", "bob", "--vault", "ephemeral")
        try machine.succeed("cryptohome", "mount", "alice", "--vault", "plain")
        func request(_ name: String) -> String { bytes([10, UInt8(name.utf8.count)] + name.utf8) }
        func bytes(_ bytes: [UInt8]) -> String {
          "[" + bytes.map { "byte \($0)" }.joined(separator: ", ") + "]"
        }
        func expect(
          _ reply: [UInt8], from method: String, _ request: String
        ) throws {
          let outcome = try machine.call(method, request)
          let hex = reply.map { "0x" + ($0 < 16 ? "0" : "") + String($0, radix: 16) }
          let shown = hex.isEmpty ? "@ay []" : "[byte " + hex.joined(separator: ", ") + "]"
          #expect(outcome.lines == ["(\(shown),)"], "\(outcome)")
        }
        let any = "@ay []"
        try expect([8, 1], from: "UserDataAuthInterface.IsMounted", any)
        try expect([8, 1, 16, 1], from: "UserDataAuthInterface.IsMounted", request("bob"))
        try expect([8, 1], from: "UserDataAuthInterface.IsMounted", request("alice"))
        try expect([], from: "UserDataAuthInterface.IsMounted", request("carol"))
        try expect(
          [10, 40] + Host.alice.utf8, from: "CryptohomeMiscInterface.GetSanitizedUsername",
          request("alice"))
        try expect(
          [10, 16] + Host.salt.utf8, from: "CryptohomeMiscInterface.GetSystemSalt", any)
        try expect([], from: "UserDataAuthInterface.Unmount", any)
        #expect(try machine.mounts(of: Host.alice).isEmpty)
        #expect(try machine.mounts(of: Host.bob).isEmpty)
        service.kill()
        #expect(machine.log == "")
      }
    }
  }
}
