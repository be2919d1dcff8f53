/// One call of a trace: what a policy can be made from.
package struct TracedCall: Hashable, Sendable {
  package let name: String
  /// The arguments as they stand there, as far as they could be told apart.
  package let arguments: [String]

  package init(name: String, arguments: [String]) {
    self.name = name
    self.arguments = arguments
  }
}

/// Takes calls out of what strace(1) writes.
///
/// A line may begin with `[pid N]` or a number (`-f`), and with a time stamp (`-t`, `-tt`, `-ttt`,
/// `-r`). A call that another thread interrupts counts where it is unfinished; its `resumed` line
/// counts for nothing, like signals and exits.
package enum StraceReader {
  /// Nil for a line that shows no call.
  package static func call(in line: ArraySlice<UInt8>) -> TracedCall? {
    var rest = line.trimmed
    while let shorter = withoutPrefix(rest) { rest = shorter }
    let name = rest.prefix { isWord($0) }
    guard let first = name.first, !isDigit(first), rest[name.endIndex...].first == UInt8(ascii: "(")
    else { return nil }
    let inside = rest[(name.endIndex + 1)...]
    guard let arguments = arguments(inside) else { return nil }
    return TracedCall(name: String(decoding: name, as: UTF8.self), arguments: arguments)
  }

  private static func isWord(_ byte: UInt8) -> Bool {
    isDigit(byte) || byte == UInt8(ascii: "_")
      || (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte)
  }

  private static func isDigit(_ byte: UInt8) -> Bool {
    (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
  }

  /// Without one `[pid N]`, number or time; nil if the line begins with none.
  private static func withoutPrefix(_ line: ArraySlice<UInt8>) -> ArraySlice<UInt8>? {
    if line.first == UInt8(ascii: "[") {
      guard let end = line.firstIndex(of: UInt8(ascii: "]")) else { return nil }
      return line[(end + 1)...].trimmed
    }
    let word = line.prefix { isDigit($0) || $0 == UInt8(ascii: ":") || $0 == UInt8(ascii: ".") }
    guard !word.isEmpty, line[word.endIndex...].first == UInt8(ascii: " ") else { return nil }
    return line[word.endIndex...].trimmed
  }

  /// Splits at the commas that are in no string, structure, array or call. Nil for a line that ends
  /// before its call does, and is not marked as unfinished.
  private static func arguments(_ text: ArraySlice<UInt8>) -> [String]? {
    var arguments: [String] = []
    var start = text.startIndex
    var depth = 0
    var isQuoted = false
    var index = text.startIndex
    func finish(_ end: Int) {
      let argument = text[start..<end].trimmed
      if !argument.isEmpty || !arguments.isEmpty {
        arguments.append(String(decoding: argument, as: UTF8.self))
      }
    }
    while index < text.endIndex {
      let byte = text[index]
      if isQuoted {
        if byte == UInt8(ascii: "\\") { index += 1 }
        if byte == UInt8(ascii: "\"") { isQuoted = false }
      } else {
        switch byte {
        case UInt8(ascii: "\""): isQuoted = true
        case UInt8(ascii: "("), UInt8(ascii: "["), UInt8(ascii: "{"): depth += 1
        case UInt8(ascii: ")") where depth == 0:
          finish(index)
          return arguments
        case UInt8(ascii: ")"), UInt8(ascii: "]"), UInt8(ascii: "}"): depth = max(0, depth - 1)
        case UInt8(ascii: ",") where depth == 0:
          finish(index)
          start = index + 1
        case UInt8(ascii: "<") where text[index...].hasPrefix("<unfinished"):
          // What stands before it is whole, unless it ends in a comma.
          if !text[start..<index].trimmed.isEmpty { finish(index) }
          return arguments
        default: break
        }
      }
      index += 1
    }
    return nil
  }
}

/// Takes calls out of an audit log: SECCOMP records for calls without arguments worth keeping,
/// SYSCALL records, which have them, for the others.
package struct AuditReader: Sendable {
  package let architecture: Architecture
  /// Only what a process of this name did.
  package let command: String

  package init(architecture: Architecture, command: String) {
    self.architecture = architecture
    self.command = command
  }

  /// Whether a line is from such a log.
  package static func isRecord(_ line: ArraySlice<UInt8>) -> Bool {
    fields(line).contains { $0 == "type" && ($1 == "SYSCALL" || $1 == "SECCOMP" || $1 == "1326") }
  }

  /// Nil for other records, other processes, and other architectures.
  package func call(in line: ArraySlice<UInt8>) -> TracedCall? {
    var values: [String: String] = [:]
    for (key, value) in Self.fields(line) where values[key] == nil { values[key] = value }
    let isSyscall = values["type"] == "SYSCALL"
    guard isSyscall || values["type"] == "SECCOMP" || values["type"] == "1326",
      values["comm"] == command || values["comm"] == hexadecimal(command),
      let arch = values["arch"], UInt32(arch, radix: 16) == architecture.auditNumber,
      let number = values["syscall"].flatMap({ UInt32($0) }),
      let name = architecture.name(ofCall: number)
    else { return nil }
    guard isSyscall == (PolicyGenerator.keptArgument(of: name) != nil) else { return nil }
    var arguments: [String] = []
    for index in 0..<4 {
      guard isSyscall, let argument = values["a\(index)"], UInt64(argument, radix: 16) != nil
      else { break }
      arguments.append("0x\(argument)")
    }
    return TracedCall(name: name, arguments: arguments)
  }

  /// Names with spaces and the like are logged in hexadecimal.
  private func hexadecimal(_ text: String) -> String {
    text.utf8.map { ($0 < 16 ? "0" : "") + String($0, radix: 16, uppercase: true) }.joined()
  }

  private static func fields(_ line: ArraySlice<UInt8>) -> [(String, String)] {
    line.split { $0 == UInt8(ascii: " ") || $0 == 0x1d }.compactMap { word in
      // The journal has the type as a word.
      if word.equals("SECCOMP") { return ("type", "SECCOMP") }
      guard let equals = word.firstIndex(of: UInt8(ascii: "=")) else { return nil }
      var value = word[(equals + 1)...]
      if value.first == UInt8(ascii: "\""), value.last == UInt8(ascii: "\""), value.count > 1 {
        value = value.dropFirst().dropLast()
      }
      return (
        String(decoding: word[..<equals], as: UTF8.self), String(decoding: value, as: UTF8.self)
      )
    }
  }
}
