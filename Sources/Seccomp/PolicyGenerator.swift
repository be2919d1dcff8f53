/// Makes a policy from the calls of traces.
package struct PolicyGenerator: Sendable {
  package let architecture: Architecture
  private var counts: [String: Int] = [:]
  /// For a call with an argument worth keeping: the values that were seen.
  private var values: [String: Set<String>] = [:]
  /// Calls whose argument could not be read at least once.
  private var open: Set<String> = []
  /// Lines of a trace that name calls this architecture does not have.
  package private(set) var unknownCalls: Set<String> = []

  package init(architecture: Architecture) { self.architecture = architecture }

  /// The argument by which a call is filtered.
  package static func keptArgument(of name: String) -> Int? {
    switch name {
    case "socket", "prctl": 0
    case "ioctl": 1
    case "mmap", "mmap2", "mprotect": 2
    default: nil
    }
  }

  private static let socketCalls = [
    "accept", "accept4", "bind", "connect", "getpeername", "getsockname", "getsockopt", "listen",
    "recv", "recvfrom", "recvmmsg", "recvmsg", "send", "sendmmsg", "sendmsg", "sendto",
    "setsockopt", "shutdown", "socket", "socketpair",
  ]

  /// Adds a call that was made so many times.
  package mutating func add(_ call: TracedCall, times: Int = 1) {
    var name = call.name
    // strace shows the parts of the one call that programs for i386 make.
    let isSocketCall = architecture == .i386 && Self.socketCalls.contains(name)
    if isSocketCall { name = "socketcall" }
    guard architecture.number(ofCall: name) != nil else {
      unknownCalls.insert(name)
      return
    }
    counts[name, default: 0] &+= times
    guard !isSocketCall, let index = Self.keptArgument(of: name) else { return }
    if index < call.arguments.count, let text = value(call.arguments[index]) {
      values[name, default: []].insert(text)
    } else {
      open.insert(name)
    }
  }

  /// Adds each line of a trace that shows a call, and returns how many did. `command` is needed for
  /// audit logs.
  @discardableResult
  package mutating func add(trace bytes: [UInt8], command: String?) -> Int {
    let reader = command.map { AuditReader(architecture: architecture, command: $0) }
    var count = 0
    for line in bytes.split(separator: UInt8(ascii: "\n")) {
      let isRecord = AuditReader.isRecord(line)
      guard let call = isRecord ? reader?.call(in: line) : StraceReader.call(in: line) else {
        continue
      }
      add(call)
      count += 1
    }
    return count
  }

  /// The text of an argument, if it is a value of the language: strace's `A|B` and numbers are.
  private func value(_ text: String) -> String? {
    let bytes = Array(text.utf8)
    // Comments of strace, as in `0x5401 /* TCGETS */`.
    let word = bytes.prefix { $0 != UInt8(ascii: " ") }
    guard !word.isEmpty,
      (try? ValueParser.value(of: word, architecture: architecture, dialect: .minijail)) != nil
    else { return nil }
    return String(decoding: word, as: UTF8.self)
  }

  /// The policy: calls in the order of their counts, most frequent first, then of their names; or
  /// with `byName`, of their names alone. The same traces give the same text.
  package func text(byName: Bool = false) -> String {
    var counts = counts
    for name in ["restart_syscall", "exit", "exit_group", "rt_sigreturn"]
    where counts[name] == nil && architecture.number(ofCall: name) != nil {
      counts[name] = 0
    }
    let names = counts.keys.sorted { left, right in
      let (one, other) = (counts[left] ?? 0, counts[right] ?? 0)
      return byName || one == other ? left < right : one > other
    }
    let lines = names.map { "\($0): \(rule(for: $0))\n" }
    return "# Made from traces: read it before use.\n" + lines.joined()
  }

  /// Lines `name: count`, for `@frequency`.
  package func frequencyText() -> String {
    "# Made from traces.\n" + counts.keys.sorted().map { "\($0): \(counts[$0] ?? 0)\n" }.joined()
  }

  private func rule(for name: String) -> String {
    guard let index = Self.keptArgument(of: name), name != "socketcall" else { return "1" }
    let values = values[name] ?? []
    if ["mmap", "mmap2", "mprotect"].contains(name) {
      let names = values.map { $0.split(separator: "|") }
      let isBoth = names.contains { $0.contains("PROT_EXEC") && $0.contains("PROT_WRITE") }
      let bits = values.compactMap { constantExpression($0, on: architecture) }
      if !isBoth, !bits.contains(where: { $0 & 6 == 6 }) {
        return "arg2 in ~PROT_EXEC || arg2 in ~PROT_WRITE"
      }
    }
    guard !values.isEmpty, !open.contains(name) else { return "1" }
    // One text for each value, a name before a number.
    var texts: [UInt64: String] = [:]
    for text in values.sorted(by: >) {
      guard let bits = constantExpression(text, on: architecture) else { continue }
      if let known = texts[bits], known.first?.isLetter ?? false { continue }
      texts[bits] = text
    }
    return texts.keys.sorted().map { "arg\(index) == \(texts[$0] ?? "")" }
      .joined(separator: " || ")
  }
}
