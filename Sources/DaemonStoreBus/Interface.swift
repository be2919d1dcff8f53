import CSystemd
import Glibc
import DaemonStoreKernel

/// A value that a method takes or gives, or that a signal has: `Parameter("user", "s")`.
package struct Parameter: Sendable {
  package let name: String
  /// Its signature.
  package let type: String

  package init(_ name: String, _ type: String) {
    self.name = name
    self.type = type
  }
}

/// An interface of an object: what is introspected, and what is done when it is called.
///
/// A call whose arguments have other types than those given here is refused by sd-bus.
package struct Interface {
  package struct Method {
    let name: String
    let takes: [Parameter]
    let gives: [Parameter]
    let body: (MethodCall) throws -> Void

    /// - Parameter body: answers the call, or keeps it and answers later. What it throws is the
    ///   answer.
    package init(
      _ name: String, takes: [Parameter] = [], gives: [Parameter] = [],
      _ body: @escaping (MethodCall) throws -> Void
    ) {
      self.name = name
      self.takes = takes
      self.gives = gives
      self.body = body
    }
  }

  package struct Property {
    let name: String
    let type: String
    let isConstant: Bool
    let append: (borrowing Message) throws -> Void

    /// - Parameter isConstant: false for one whose every change is told by
    ///   ``Connection/tellChange(of:in:at:)``.
    package init(
      _ name: String, _ type: String, isConstant: Bool = false,
      _ append: @escaping (borrowing Message) throws -> Void
    ) {
      self.name = name
      self.type = type
      self.isConstant = isConstant
      self.append = append
    }
  }

  package struct Signal {
    let name: String
    let has: [Parameter]

    package init(_ name: String, _ has: Parameter...) {
      self.name = name
      self.has = has
    }
  }

  let name: String
  let methods: [Method]
  let properties: [Property]
  let signals: [Signal]

  package init(
    _ name: String, methods: [Method] = [], properties: [Property] = [], signals: [Signal] = []
  ) {
    self.name = name
    self.methods = methods
    self.properties = properties
    self.signals = signals
  }
}

/// A method call that has arrived. It is answered once: by `reply`, by `fail`, or with an error
/// when the last reference goes.
package final class MethodCall {
  /// What is read from.
  package private(set) var message: Message
  /// The sender's unique name.
  package let sender: String
  private var isAnswered = false
  /// The answers that there may be, once the message is let go.
  private var prepared: Prepared?

  init(_ message: consuming Message) {
    sender = message.sender
    self.message = message
  }

  deinit { fail(BusError("org.freedesktop.DBus.Error.NoReply", "the call was given up")) }

  /// Lets go of the message, and of the descriptors that were sent with it, whatever their number: for
  /// a call that is answered later. What is needed of it has been read.
  package func release() {
    guard prepared == nil, !isAnswered else { return }
    do {
      let prepared = try Prepared(for: message)
      message = Message(sharing: prepared.reply.pointer)
      self.prepared = prepared
    } catch {
      fail(error)
    }
  }

  package func reply(_ fill: (borrowing Message) throws -> Void = { _ in }) {
    guard !isAnswered else { return }
    do {
      if let prepared {
        try fill(prepared.reply)
        _ = sd_bus_message_send(prepared.reply.pointer)
      } else {
        let reply = try Message.reply(to: message)
        try fill(reply)
        // The caller may be gone.
        _ = sd_bus_message_send(reply.pointer)
      }
      isAnswered = true
    } catch {
      fail(error)
    }
  }

  package func fail(_ error: any Error) {
    guard !isAnswered else { return }
    isAnswered = true
    if let prepared {
      prepared.fail(error)
      return
    }
    var raw = sd_bus_error()
    setError(&raw, error)
    _ = sd_bus_reply_method_error(message.pointer, &raw)
    sd_bus_error_free(&raw)
  }

  /// A reply to a message that is not kept.
  private final class Prepared {
    let reply: Message
    private let failure: Message
    private let invalid: Message
    private let denied: Message
    private let exceeded: Message

    init(for message: borrowing Message) throws(SystemError) {
      reply = try .reply(to: message)
      failure = try .error("org.daemonstore.Error.Failed", to: message)
      invalid = try .error("org.freedesktop.DBus.Error.InvalidArgs", to: message)
      denied = try .error("org.freedesktop.DBus.Error.AccessDenied", to: message)
      exceeded = try .error("org.freedesktop.DBus.Error.LimitsExceeded", to: message)
    }

    func fail(_ error: any Error) {
      let text = oneLine((error as? BusError)?.message ?? "\(error)")
      switch (error as? BusError)?.name {
      case "org.freedesktop.DBus.Error.InvalidArgs": send(invalid, text)
      case "org.freedesktop.DBus.Error.AccessDenied": send(denied, text)
      case "org.freedesktop.DBus.Error.LimitsExceeded": send(exceeded, text)
      default: send(failure, text)
      }
    }

    private func send(_ message: borrowing Message, _ text: String) {
      guard sd_bus_message_append_basic(message.pointer, CChar(UInt8(ascii: "s")), text) >= 0
      else { return }
      _ = sd_bus_message_send(message.pointer)
    }
  }
}

extension Message {
  fileprivate static func reply(to message: borrowing Message) throws(SystemError) -> Message {
    var pointer: OpaquePointer?
    try accept(
      "sd_bus_message_new_method_return",
      sd_bus_message_new_method_return(message.pointer, &pointer))
    guard let pointer else {
      throw SystemError(operation: "sd_bus_message_new_method_return", path: nil, code: ENOMEM)
    }
    return Message(owning: pointer)
  }

  /// An error without its text, which is appended before it is sent.
  fileprivate static func error(
    _ name: String, to message: borrowing Message
  ) throws(SystemError) -> Message {
    var raw = sd_bus_error()
    defer { sd_bus_error_free(&raw) }
    sd_bus_error_set(&raw, name, nil)
    var pointer: OpaquePointer?
    try accept(
      "sd_bus_message_new_method_error",
      sd_bus_message_new_method_error(message.pointer, &pointer, &raw))
    guard let pointer else {
      throw SystemError(operation: "sd_bus_message_new_method_error", path: nil, code: ENOMEM)
    }
    return Message(owning: pointer)
  }
}

/// Sets what is answered; returns the errno that sd-bus has for it, negative.
@discardableResult
private func setError(_ raw: UnsafeMutablePointer<sd_bus_error>?, _ error: any Error) -> CInt {
  let error = error as? BusError ?? BusError(describing: error)
  return sd_bus_error_set(raw, error.name, error.message)
}

/// An interface as sd-bus has it: a table, whose texts live as long as it is published.
final class PublishedInterface {
  let interface: Interface
  private(set) var rows: UnsafeMutablePointer<sd_bus_vtable>
  private var texts: [UnsafeMutablePointer<CChar>] = []
  private let format: UnsafeMutablePointer<CUnsignedInt>

  init(_ interface: Interface) {
    self.interface = interface
    let count = interface.methods.count + interface.properties.count + interface.signals.count + 2
    rows = .allocate(capacity: count)
    // The parts of a row that nobody sets must be 0.
    UnsafeMutableRawPointer(rows).initializeMemory(
      as: UInt8.self, repeating: 0, count: count * MemoryLayout<sd_bus_vtable>.stride)
    format = .allocate(capacity: 1)
    format.initialize(to: sd_bus_object_vtable_format)

    rows[0].type = UInt8(ascii: "<")
    rows[0].x.start.element_size = MemoryLayout<sd_bus_vtable>.stride
    rows[0].x.start.features = UInt64(_SD_BUS_VTABLE_PARAM_NAMES)
    rows[0].x.start.vtable_format_reference = UnsafePointer(format)
    var row = 1
    for method in interface.methods {
      rows[row].type = UInt8(ascii: "M")
      // Who may call it is decided by the method.
      rows[row].flags = UInt64(SD_BUS_VTABLE_UNPRIVILEGED)
      rows[row].x.method.member = text(method.name)
      rows[row].x.method.signature = text(method.takes.map(\.type).joined())
      rows[row].x.method.result = text(method.gives.map(\.type).joined())
      rows[row].x.method.handler = Self.call
      rows[row].x.method.names = text((method.takes + method.gives).map(\.name))
      row += 1
    }
    for property in interface.properties {
      rows[row].type = UInt8(ascii: "P")
      rows[row].flags = UInt64(
        property.isConstant
          ? SD_BUS_VTABLE_PROPERTY_CONST : SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE)
      rows[row].x.property.member = text(property.name)
      rows[row].x.property.signature = text(property.type)
      rows[row].x.property.get = Self.get
      row += 1
    }
    for signal in interface.signals {
      rows[row].type = UInt8(ascii: "S")
      rows[row].x.signal.member = text(signal.name)
      rows[row].x.signal.signature = text(signal.has.map(\.type).joined())
      rows[row].x.signal.names = text(signal.has.map(\.name))
      row += 1
    }
    rows[row].type = UInt8(ascii: ">")
  }

  deinit {
    for text in texts { text.deallocate() }
    rows.deallocate()
    format.deallocate()
  }

  private func text(_ text: String) -> UnsafePointer<CChar> { bytes(text.utf8CString + []) }

  /// Names, each with a zero behind it, and one more at the end.
  private func text(_ names: [String]) -> UnsafePointer<CChar> {
    bytes(names.flatMap { Array($0.utf8CString) } + [0])
  }

  private func bytes(_ bytes: some Collection<CChar>) -> UnsafePointer<CChar> {
    let copy = UnsafeMutablePointer<CChar>.allocate(capacity: bytes.count)
    _ = UnsafeMutableBufferPointer(start: copy, count: bytes.count).initialize(
      fromContentsOf: bytes)
    texts.append(copy)
    return UnsafePointer(copy)
  }

  private static func of(_ userdata: UnsafeMutableRawPointer?) -> PublishedInterface? {
    userdata.map { Unmanaged<PublishedInterface>.fromOpaque($0).takeUnretainedValue() }
  }

  private static let call: sd_bus_message_handler_t = { message, userdata, _ in
    guard let message, let interface = of(userdata)?.interface else { return -EINVAL }
    let call = MethodCall(Message(sharing: message))
    let member = call.message.member
    guard let method = interface.methods.first(where: { $0.name == member }) else { return 0 }
    do {
      try method.body(call)
    } catch {
      call.fail(error)
    }
    return 1
  }

  private static let get: sd_bus_property_get_t = { _, _, _, name, reply, userdata, raw in
    guard let name, let reply, let interface = of(userdata)?.interface else { return -EINVAL }
    let wanted = String(cString: name)
    guard let property = interface.properties.first(where: { $0.name == wanted }) else {
      return -ENOENT
    }
    do {
      try property.append(Message(sharing: reply))
      return 1
    } catch {
      return setError(raw, error)
    }
  }
}
