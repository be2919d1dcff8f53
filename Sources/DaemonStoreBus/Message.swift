import CSystemd
import Glibc
import DaemonStoreKernel

/// A message of D-Bus: values that are read, or appended, one after another. What is read was
/// checked by sd-bus: strings are UTF-8, lengths are those of the message.
package struct Message: ~Copyable {
  let pointer: OpaquePointer

  init(owning pointer: OpaquePointer) { self.pointer = pointer }
  init(sharing pointer: OpaquePointer) { self.pointer = sd_bus_message_ref(pointer) }
  deinit { sd_bus_message_unref(pointer) }

  /// The unique name of who has sent it.
  package var sender: String {
    sd_bus_message_get_sender(pointer).map { String(cString: $0) } ?? ""
  }
  package var member: String {
    sd_bus_message_get_member(pointer).map { String(cString: $0) } ?? ""
  }

  /// The error that it carries, if it is one.
  package var error: BusError? {
    guard let error = sd_bus_message_get_error(pointer) else { return nil }
    return BusError(error.pointee)
  }
}

extension Message {
  /// The most bytes that a string or an array from a caller may have. Its length is looked at before
  /// anything else is done with it.
  package static var longestValue: Int { 4096 }
  /// The most entries of a dictionary from a caller.
  static var mostOptions: Int { 16 }

  /// - Throws: `EMSGSIZE` for one that is longer than ``longestValue``.
  package func string() throws(SystemError) -> String {
    var text: UnsafePointer<CChar>?
    try read("s", &text)
    guard let text else { return "" }
    guard strnlen(text, Self.longestValue + 1) <= Self.longestValue else {
      throw SystemError(operation: "reading a string", path: nil, code: EMSGSIZE)
    }
    return String(cString: text)
  }

  package func boolean() throws(SystemError) -> Bool {
    var value: CInt = 0
    try read("b", &value)
    return value != 0
  }

  package func unsigned32() throws(SystemError) -> UInt32 {
    var value: UInt32 = 0
    try read("u", &value)
    return value
  }

  package func unsigned64() throws(SystemError) -> UInt64 {
    var value: UInt64 = 0
    try read("t", &value)
    return value
  }

  /// A duplicate of a descriptor that was sent along, close-on-exec.
  package func descriptor() throws(SystemError) -> Descriptor {
    var number: CInt = -1
    try read("h", &number)
    return Descriptor(
      owning: try check("fcntl", nil, fcntl(number, F_DUPFD_CLOEXEC, 3)))
  }

  /// An array of bytes, at most ``longestValue``.
  package func bytes() throws(SystemError) -> [UInt8] {
    var start: UnsafeRawPointer?
    var count = 0
    try accept(
      "sd_bus_message_read_array", sd_bus_message_read_array(pointer, code("y"), &start, &count))
    guard count <= Self.longestValue else {
      throw SystemError(operation: "reading an array", path: nil, code: EMSGSIZE)
    }
    return start.map { Array(UnsafeRawBufferPointer(start: $0, count: count)) } ?? []
  }

  /// An array of unsigned numbers.
  package func unsigned32s() throws(SystemError) -> [UInt32] {
    var start: UnsafeRawPointer?
    var count = 0
    try accept(
      "sd_bus_message_read_array", sd_bus_message_read_array(pointer, code("u"), &start, &count))
    guard count <= 4 << 16 else {  // NGROUPS_MAX
      throw SystemError(operation: "reading an array", path: nil, code: EMSGSIZE)
    }
    let buffer = UnsafeRawBufferPointer(start: start, count: count)
    return stride(from: 0, to: count, by: 4).map {
      buffer.loadUnaligned(fromByteOffset: $0, as: UInt32.self)
    }
  }

  /// An array of pairs of strings: `a(ss)`.
  package func pairs() throws(SystemError) -> [(String, String)] {
    var pairs: [(String, String)] = []
    try enter("a", "(ss)")
    while try enter("r", "ss", orEnd: true) {
      pairs.append((try string(), try string()))
      try leave()
    }
    try leave()
    return pairs
  }

  /// An array of structures, each of which begins with a string: those strings.
  ///
  /// - Parameter rest: the signature of what follows the string.
  package func firstStrings(before rest: String) throws(SystemError) -> [String] {
    var strings: [String] = []
    try enter("a", "(s\(rest))")
    while try enter("r", "s\(rest)", orEnd: true) {
      strings.append(try string())
      try accept("sd_bus_message_skip", sd_bus_message_skip(pointer, rest))
      try leave()
    }
    try leave()
    return strings
  }

  /// A dictionary of named values of any type: `a{sv}`.
  ///
  /// - Throws: for a value of a type that no option and no answer of the bus has, unread.
  package func options() throws -> [String: Value] {
    var options: [String: Value] = [:]
    try enter("a", "{sv}")
    while try enter("e", "sv", orEnd: true) {
      guard options.count < Self.mostOptions else {
        throw SystemError(operation: "reading a dictionary", path: nil, code: EMSGSIZE)
      }
      let key = try string()
      options[key] = try value(of: key)
      try leave()
    }
    try leave()
    return options
  }

  private func value(of key: String) throws -> Value {
    var type: CChar = 0
    var contents: UnsafePointer<CChar>?
    try accept("sd_bus_message_peek_type", sd_bus_message_peek_type(pointer, &type, &contents))
    let signature = contents.map { String(cString: $0) } ?? ""
    try enter("v", signature)
    let value: Value
    switch signature {
    case "s": value = .string(try string())
    case "b": value = .boolean(try boolean())
    case "u": value = .unsigned(UInt64(try unsigned32()))
    case "t": value = .unsigned(try unsigned64())
    case "au": value = .unsigneds(try unsigned32s())
    default:
      guard ["ay", "h"].contains(signature) else {
        throw BusError.invalidArguments(
          oneLine("the option \(key) is of the type \(signature), which no option has"))
      }
      try accept("sd_bus_message_skip", sd_bus_message_skip(pointer, signature))
      value = .other(signature)
    }
    try leave()
    return value
  }

  private func read(_ type: Character, _ value: UnsafeMutableRawPointer) throws(SystemError) {
    let count = try accept(
      "sd_bus_message_read_basic", sd_bus_message_read_basic(pointer, code(type), value))
    // At the end of the message or of a container.
    guard count > 0 else {
      throw SystemError(operation: "sd_bus_message_read_basic", path: nil, code: ENXIO)
    }
  }

  @discardableResult
  private func enter(
    _ type: Character, _ contents: String, orEnd: Bool = false
  ) throws(SystemError) -> Bool {
    let operation = "sd_bus_message_enter_container"
    let count = try accept(
      operation, sd_bus_message_enter_container(pointer, code(type), contents))
    guard count > 0 || orEnd else {
      throw SystemError(operation: operation, path: nil, code: ENXIO)
    }
    return count > 0
  }

  private func leave() throws(SystemError) {
    try accept("sd_bus_message_exit_container", sd_bus_message_exit_container(pointer))
  }
}

/// A value of a dictionary of options.
package enum Value: Equatable, Sendable {
  case string(String)
  case boolean(Bool)
  case unsigned(UInt64)
  case unsigneds([UInt32])
  /// Of a type that no option of ours has: its signature.
  case other(String)
}

extension Message {
  package func append(_ text: String) throws(SystemError) {
    try accept(
      "sd_bus_message_append_basic", sd_bus_message_append_basic(pointer, code("s"), text))
  }

  package func append(_ value: Bool) throws(SystemError) {
    var value: CInt = value ? 1 : 0
    try append("b", &value)
  }

  package func append(_ value: UInt32) throws(SystemError) {
    var value = value
    try append("u", &value)
  }

  package func append(_ value: UInt64) throws(SystemError) {
    var value = value
    try append("t", &value)
  }

  /// Sends a duplicate of an open descriptor along.
  package func append(descriptor: CInt) throws(SystemError) {
    var number = descriptor
    try append("h", &number)
  }

  package func append(_ bytes: [UInt8]) throws(SystemError) {
    try accept(
      "sd_bus_message_append_array",
      sd_bus_message_append_array(pointer, code("y"), bytes, bytes.count))
  }

  package func append(_ texts: [String]) throws(SystemError) {
    try append(array: "s", of: texts) { message, text throws(SystemError) in
      try message.append(text)
    }
  }

  /// An array whose elements have the signature `type`, each appended by `body`.
  package func append<Element>(
    array type: String, of elements: [Element],
    _ body: (borrowing Message, Element) throws(SystemError) -> Void
  ) throws(SystemError) {
    try open("a", type)
    for element in elements { try body(self, element) }
    try close()
  }

  /// A structure, or an entry of a dictionary.
  package func append(
    structure type: String, entry isEntry: Bool = false,
    _ body: (borrowing Message) throws(SystemError) -> Void
  ) throws(SystemError) {
    try open(isEntry ? "e" : "r", type)
    try body(self)
    try close()
  }

  private func append(_ type: Character, _ value: UnsafeRawPointer) throws(SystemError) {
    try accept(
      "sd_bus_message_append_basic", sd_bus_message_append_basic(pointer, code(type), value))
  }

  private func open(_ type: Character, _ contents: String) throws(SystemError) {
    try accept(
      "sd_bus_message_open_container", sd_bus_message_open_container(pointer, code(type), contents))
  }

  private func close() throws(SystemError) {
    try accept("sd_bus_message_close_container", sd_bus_message_close_container(pointer))
  }
}

private func code(_ type: Character) -> CChar { CChar(type.asciiValue ?? 0) }

/// What is answered instead of a result: a name that a program compares, and a line for a person.
package struct BusError: Error, Equatable, CustomStringConvertible, Sendable {
  package let name: String
  package let message: String

  package init(_ name: String, _ message: String) {
    self.name = name
    self.message = message
  }

  init(_ error: sd_bus_error) {
    name = error.name.map { String(cString: $0) } ?? "org.freedesktop.DBus.Error.Failed"
    message = error.message.map { String(cString: $0) } ?? ""
  }

  /// A message that is too large is the caller's mistake.
  init(describing error: any Error) {
    let isTooLarge = (error as? SystemError)?.code == EMSGSIZE
    name = "org.freedesktop.DBus.Error.\(isTooLarge ? "InvalidArgs" : "Failed")"
    message =
      isTooLarge
      ? "an argument is longer than \(Message.longestValue) bytes or has too many entries"
      : oneLine("\(error)")
  }

  package var description: String { message.isEmpty ? name : message }

  package static func invalidArguments(_ message: String) -> Self {
    BusError("org.freedesktop.DBus.Error.InvalidArgs", message)
  }
  package static func accessDenied(_ message: String) -> Self {
    BusError("org.freedesktop.DBus.Error.AccessDenied", message)
  }
  package static func limitsExceeded(_ message: String) -> Self {
    BusError("org.freedesktop.DBus.Error.LimitsExceeded", message)
  }
}
