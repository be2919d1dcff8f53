import DaemonStoreBus
import Cryptohome
import DaemonStore
import DaemonStoreKernel
import DaemonStoreProgram

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
    let key = KeyDescriptor(try call.message.descriptor())
    let given = try call.message.options()
    try withCaller(of: call, hasDescriptor: true) { [unowned self] caller in
      try actions.requireRoom(for: caller.user)
      let user = try user(name)
      try authorize(caller, over: user, for: call) { [unowned self] in
        try mount(
          user, called: name, with: key, options: Self.options(given, caller), by: caller,
          for: call)
      }
    }
  }

  private static func options(_ given: [String: Value], _ caller: Caller) throws -> [String] {
    var options = Options(given)
    try options.string("label")
    // What kind of vault there is, whose and how big, is not the user's to say.
    if caller.isRoot {
      try options.string("vault")
      try options.string("owner")
      try options.number("size")
    }
    try options.end()
    return options.arguments
  }

  private func mount(
    _ user: ObfuscatedUsername, called name: String, with key: KeyDescriptor, options: [String],
    by caller: Caller, for call: MethodCall
  ) throws {
    let session = try isOfSession(caller, of: user) ? ["--for-session"] : []
    try actions.start(
      ["mount", "--key-fd=3", "--key-timeout=10s"] + session + options + ["--", name],
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

  /// Whether what a user mounts ends with the sessions of that user: the caller is in one of them.
  private func isOfSession(_ caller: Caller, of user: ObfuscatedUsername) throws -> Bool {
    guard !caller.isRoot, let process = caller.process else { return false }
    return try Sessions.contain(process: process, of: caller.user, in: user, layout)
  }

  func unmount(_ call: MethodCall) throws {
    let name = try call.message.string()
    var options = Options(try call.message.options())
    try options.string("wait")
    try options.flag("force")
    try options.end()
    try withCaller(of: call) { [unowned self, options] caller in
      try actions.requireRoom(for: caller.user)
      try authorize(caller, over: try user(name), for: call) { [unowned self] in
        try unmount(name, options: options.arguments, by: caller, for: call)
      }
    }
  }

  private func unmount(
    _ name: String, options: [String], by caller: Caller, for call: MethodCall
  ) throws {
    try actions.start(["unmount"] + options + ["--", name], for: caller.user, in: loop) {
      [unowned self] end, lines in
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

  /// What `cryptohome` has said, without its name, and without advice for the command line: a caller on the
  /// bus has none.
  func failure(_ verb: String, _ end: ProcessEnd?, _ lines: [String]) -> BusError {
    switch end {
    case .exited(let status):
      let line = lines.last ?? "cryptohome ended with status \(status)"
      var text: FilePath = FilePath(truncating: line.utf8)
      for prefix in ["cryptohome: \(verb): ", "cryptohome: "] as [FilePath] {
        text = text.dropping(prefix: prefix) ?? text
      }
      let message = Self.withoutAdvice(text)
      return status == 2 ? .invalidArguments(message) : Manager.failure(message)
    case .killed(let signal):
      return Manager.failure("cryptohome was ended by \(signalName(signal))")
    case nil:
      return Manager.failure("cryptohome has not ended in time")
    }
  }

  private static func withoutAdvice(_ text: FilePath) -> String {
    let bytes = Array(text.bytes)
    func has(_ word: String, at index: Int) -> Bool { bytes[index...].starts(with: word.utf8) }
    let programs = bytes.indices.filter { index in
      ["cryptohome ", "daemon-store "].contains { has($0, at: index) }
    }
    // From the first clause that names a program.
    let end = bytes.indices.filter { has("; ", at: $0) }.last { mark in
      programs.contains { $0 > mark } && !programs.contains { $0 < mark }
    }
    return String(decoding: bytes[..<(end ?? bytes.endIndex)], as: UTF8.self)
  }

  /// The user that a caller means.
  func user(_ text: String, salt: SaltSource = .existing) throws -> ObfuscatedUsername {
    do {
      return try Username("\(text)").resolve(salt: salt, in: layout)
    } catch let error as Refusal {
      throw BusError.invalidArguments(oneLine("\(error)"))
    }
  }
}
