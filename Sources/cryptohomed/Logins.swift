import Bus
import Cryptohome
import DaemonStore
import Kernel
import Program

/// The options of `Mount` and `Unmount`, as they are given to `cryptohome`.
private struct Options {
  private var left: [String: Value]
  private(set) var arguments: [String] = []

  init(_ options: [String: Value]) { left = options }

  mutating func string(_ name: String) throws {
    guard let value = left.removeValue(forKey: name) else { return }
    guard case .string(let text) = value else { throw wrong(name, "a string") }
    arguments.append("--\(name)=\(text)")
  }

  mutating func number(_ name: String) throws {
    guard let value = left.removeValue(forKey: name) else { return }
    guard case .unsigned(let number) = value else { throw wrong(name, "an unsigned number") }
    arguments.append("--\(name)=\(number)")
  }

  mutating func flag(_ name: String) throws {
    guard let value = left.removeValue(forKey: name) else { return }
    guard case .boolean(let isSet) = value else { throw wrong(name, "a boolean") }
    if isSet { arguments.append("--\(name)") }
  }

  /// - Throws: for an option that nobody has asked for.
  func end() throws {
    if let name = left.keys.min() {
      throw BusError.invalidArguments(oneLine("there is no option \(name) for this caller"))
    }
  }

  private func wrong(_ name: String, _ type: String) -> BusError {
    BusError.invalidArguments("the option \(name) is \(type)")
  }
}

/// A descriptor that is kept for a call which is answered later.
private final class KeyDescriptor {
  private let descriptor: Descriptor
  var number: CInt { descriptor.number }
  init(_ descriptor: consuming Descriptor) { self.descriptor = descriptor }
}

extension Service {
  func mount(_ call: MethodCall) throws {
    let name = try call.message.string()
    let user = try user(name)
    let key = KeyDescriptor(try call.message.descriptor())
    let given = try call.message.options()
    try withCaller(of: call, hasDescriptor: true) { [unowned self] caller in
      try caller.requirePower(over: user, layout)
      var options = Options(given)
      try options.string("label")
      // What kind of vault there is, whose and how big, is not the user's to say.
      if caller.isRoot {
        try options.string("vault")
        try options.string("owner")
        try options.number("size")
      }
      try options.end()
      let session = try isOfSession(caller, of: user) ? ["--for-session"] : []
      try actions.start(
        ["mount", "--key-fd=3", "--key-timeout=10s"] + session + options.arguments + ["--", name],
        descriptors: [3: key.number], for: caller.user, in: loop
      ) { [unowned self] end, lines in
        switch end {
        case .exited(0), .exited(3):
          look()
          call.reply { reply in
            try reply.append(user.description)
            try reply.append(lines)
          }
        default: call.fail(failure("mount", end, lines))
        }
      }
    }
  }

  /// Whether what a user mounts ends with the sessions of that user: the caller is in one of them.
  private func isOfSession(_ caller: Caller, of user: ObfuscatedUsername) throws -> Bool {
    guard !caller.isRoot, let process = caller.process else { return false }
    return try Sessions.contain(process: process, of: caller.user, in: user, layout)
  }

  func unmount(_ call: MethodCall) throws {
    let name = try call.message.string()
    let user = try user(name)
    var options = Options(try call.message.options())
    try options.string("wait")
    try options.flag("force")
    try options.end()
    try withCaller(of: call) { [unowned self] caller in
      try caller.requirePower(over: user, layout)
      try actions.start(
        ["unmount"] + options.arguments + ["--", name], for: caller.user, in: loop
      ) { [unowned self] end, lines in
        switch end {
        case .exited(0), .exited(3):
          look()
          call.reply { reply in
            try reply.append(end == .exited(0))
            try reply.append(lines)
          }
        default: call.fail(failure("unmount", end, lines))
        }
      }
    }
  }

  /// What `cryptohome` has said, without its name.
  func failure(_ verb: String, _ end: ProcessEnd, _ lines: [String]) -> BusError {
    switch end {
    case .exited(let status):
      let line = lines.last ?? "cryptohome ended with status \(status)"
      for prefix in ["cryptohome: \(verb): ", "cryptohome: "]
      where line.utf8.starts(with: prefix.utf8) {
        let message = String(Substring(line.utf8.dropFirst(prefix.utf8.count)))
        return status == 2 ? .invalidArguments(message) : Manager.failure(message)
      }
      return Manager.failure(line)
    case .killed(let signal):
      return Manager.failure("cryptohome was ended by \(signalName(signal)); run it again")
    }
  }

  /// The user that a caller means.
  /// - Parameter makesSalt: whether the salt is made on a system that has none.
  func user(_ text: String, makesSalt: Bool = false) throws -> ObfuscatedUsername {
    do {
      switch try Username("\(text)") {
      case .hash(let user): return user
      case .name(let name):
        return try ObfuscatedUsername(
          of: name, salt: makesSalt ? .readOrMake(layout) : .read(layout))
      }
    } catch let error as Refusal {
      throw BusError.invalidArguments(oneLine("\(error)"))
    }
  }

  /// Whether the data of a user is gone after the logout.
  func isEphemeral(_ user: ObfuscatedUsername) -> Bool {
    (try? VaultKind.mounted(of: user, layout)) == .ephemeral
  }
}
