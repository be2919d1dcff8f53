import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel
import TestSupport
import Testing

/// What PAM hands over to cryptohomed, which needs no bus for that, and what happens without it.
@Suite(.needsRoot) struct PamServiceTests {
  /// Nothing of the login is inherited by what works for it: not its parent, session or limits.
  @Test func serviceWorksForALogin() async {
    await #expect(processExitsWith: .success) {
      inPamMachine { machine in
        let service = try machine.startService()
        let login = try machine.login("alice")
        #expect(try machine.mounts(of: Host.alice).count == 4)
        #expect(machine.records(of: Host.alice) == [try login.leaderName(), "unmount"])
        #expect(try machine.processes(with: ["pam", "stay"]).isEmpty, "the service watches")
        try login.logout()
        #expect(try machine.mounts(of: Host.alice).isEmpty)
        // A leader that is killed.
        try machine.login("alice").kill()
        let isOver = try eventually { try machine.mounts(of: Host.alice).isEmpty }
        #expect(isOver)
        #expect(service.isRunning)
        service.kill()
        // Its socket is left, and nothing listens there.
        let next = try machine.login("alice")
        #expect(try machine.mounts(of: Host.alice).count == 4)
        try next.logout()
        #expect(try machine.mounts(of: Host.alice).isEmpty)
      }
    }
  }

  @Test func passwordsReachTheVaultThroughTheService() async {
    await #expect(processExitsWith: .success) {
      inEncryptedPamMachine { machine in
        let service = try machine.startService()
        let login = try machine.login("alice")
        #expect(try machine.mounts(of: Host.alice).count == 4)
        try login.logout()
        let outcome = try machine.run(
          "/mnt/programs/cryptohome", "status", "alice")
        #expect(outcome.output.contains("locked"), "\(outcome)")
        service.kill()
      }
    }
  }

  /// Without cryptohomed, one small process for each user waits for the ends of the sessions.
  @Test func processOfTheUserEndsTheSessions() async {
    await #expect(processExitsWith: .success) {
      inPamMachine { machine in
        let one = try machine.login("alice")
        let two = try machine.login("alice")
        let isOne = try eventually { try machine.processes(with: ["pam", "stay"]).count == 1 }
        #expect(isOne)
        one.kill()
        two.kill()
        let isOver = try eventually {
          try machine.mounts(of: Host.alice).isEmpty && machine.recordFiles(of: Host.alice).isEmpty
        }
        #expect(isOver)
        let hasEnded = try eventually { try machine.processes(with: ["pam", "stay"]).isEmpty }
        #expect(hasEnded)
      }
    }
  }

  /// S25: two sessions in one process, as of a file server that asks PAM for each of its clients.
  @Test(.tags(.attack), arguments: [false, true])
  func sessionsOfOneLeaderEndOneByOne(hasService: Bool) async {
    await #expect(processExitsWith: .success) { [hasService] in
      inPamMachine { machine in
        let service = try hasService ? machine.startService() : nil
        let client = try PamClient(machine)
        try client.tell("open alice")
        try client.tell("open alice")
        #expect(
          machine.records(of: Host.alice).count == 3, "\(machine.recordFiles(of: Host.alice))")
        try client.tell("close 0")
        #expect(try machine.mounts(of: Host.alice).count == 4, "the other session is open")
        try client.tell("close 1")
        #expect(try machine.mounts(of: Host.alice).isEmpty)
        service?.kill()
      }
    }
  }
}

/// A program that opens and closes sessions through libpam, each with a handle of its own.
final class PamClient {
  private let dialogue: Dialogue

  private static let source = """
    import ctypes, sys
    libc = ctypes.CDLL(None); pam = ctypes.CDLL("libpam.so.0")
    libc.calloc.restype = libc.strdup.restype = ctypes.c_void_p
    libc.strdup.argtypes = [ctypes.c_char_p]
    class Response(ctypes.Structure): _fields_ = [("text", ctypes.c_void_p), ("code", ctypes.c_int)]
    KIND = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p,
                            ctypes.POINTER(ctypes.c_void_p), ctypes.c_void_p)
    class Message(ctypes.Structure): _fields_ = [("style", ctypes.c_int), ("text", ctypes.c_char_p)]
    def answer(count, messages, answers, data):
        for i in range(count):
            message = ctypes.cast(messages, ctypes.POINTER(ctypes.POINTER(Message)))[i].contents
            print("said", message.text.decode(), flush=True)
        space = libc.calloc(count, ctypes.sizeof(Response))
        for i in range(count):
            (Response * count).from_address(space)[i].text = libc.strdup(sys.argv[1].encode())
        answers[0] = space
        return 0
    class Talk(ctypes.Structure): _fields_ = [("function", KIND), ("data", ctypes.c_void_p)]
    talk = Talk(KIND(answer), None)
    handles = []
    for line in sys.stdin:
        verb, what = line.split()
        if verb == "open":
            handle = ctypes.c_void_p()
            codes = [pam.pam_start(b"login", what.encode(), ctypes.byref(talk), ctypes.byref(handle))]
            codes += [pam.pam_authenticate(handle, 0), pam.pam_open_session(handle, 0)]
            handles.append(handle)
        else:
            codes = [pam.pam_close_session(handles[int(what)], 0)]
        print("done", codes, flush=True)
    """

  /// What it has printed: the answers, and what libpam has said to the user.
  var text: String { dialogue.text }

  init(_ machine: PamMachine, password: String = PamMachine.password) throws {
    try writeFile("/etc/client.py", Self.source)
    dialogue = try Dialogue("nsenter", machine.words(["python3", "/etc/client.py", password]))
  }

  func tell(_ line: String) throws {
    try dialogue.tell(line)
    try dialogue.wait(for: "done [")
    #expect(!dialogue.text.contains("done [1"), "\(dialogue.text)")
  }
}

extension PamMachine {
  /// Starts cryptohomed, on a machine without a bus, and waits until it serves.
  func startService(_ arguments: String...) throws -> Launched {
    let service = try Launched("nsenter", words(["/mnt/programs/cryptohomed"] + arguments))
    guard eventually({ (try? PacketSocket(connectingTo: "/run/cryptohome/control")) != nil }) else {
      throw Problem("cryptohomed does not listen")
    }
    return service
  }
}
