import CSystemd
import Glibc
import DaemonStoreKernel

/// A connection to the system bus: sd-bus(3).
package struct Connection: ~Copyable {
  let pointer: OpaquePointer
  private let sendsAll: Bool

  /// Connects, to the address in `DBUS_SYSTEM_BUS_ADDRESS` or `/run/dbus/system_bus_socket`. The bus need not
  /// have answered for that.
  ///
  /// - Parameter sendsAll: whether what is queued at the end is sent before the connection goes, however
  ///   long the bus takes.
  package init(sendsAll: Bool = true) throws(SystemError) {
    var pointer: OpaquePointer?
    try accept("connecting to the system bus", sd_bus_open_system(&pointer))
    guard let pointer else { throw SystemError(operation: "sd_bus_open", path: nil, code: ENOMEM) }
    self.pointer = pointer
    self.sendsAll = sendsAll
  }

  deinit {
    if sendsAll { sd_bus_flush_close_unref(pointer) } else { sd_bus_close_unref(pointer) }
  }

  /// Dispatches in `loop`, and calls `body` when the bus has gone away.
  package func attach(
    to loop: borrowing EventLoop, onDisconnect body: @escaping () -> Void
  ) throws(SystemError) {
    try accept("sd_bus_attach_event", sd_bus_attach_event(pointer, loop.pointer, 0))
    let retained = Unmanaged.passRetained(Waiting { _ in body() })
    var slot: OpaquePointer?
    let result = sd_bus_add_match(
      pointer, &slot,
      "type='signal',sender='org.freedesktop.DBus.Local',path='/org/freedesktop/DBus/Local',"
        + "interface='org.freedesktop.DBus.Local',member='Disconnected'",
      { message, userdata, _ in Waiting.tell(message, userdata) }, retained.toOpaque())
    guard result >= 0 else {
      retained.release()
      throw SystemError(operation: "sd_bus_add_match", path: nil, code: -result)
    }
    float(slot) { userdata in userdata.map { Unmanaged<Waiting>.fromOpaque($0).release() } }
  }

  /// Shows an interface at an object's path, for as long as the connection lasts.
  package func publish(_ interface: Interface, at path: String) throws(SystemError) {
    let published = PublishedInterface(interface)
    let retained = Unmanaged.passRetained(published)
    var slot: OpaquePointer?
    let result = sd_bus_add_object_vtable(
      pointer, &slot, path, interface.name, published.rows, retained.toOpaque())
    guard result >= 0 else {
      retained.release()
      throw SystemError(operation: "sd_bus_add_object_vtable", path: "\(path)", code: -result)
    }
    float(slot) { userdata in
      userdata.map { Unmanaged<PublishedInterface>.fromOpaque($0).release() }
    }
  }

  /// Asks for a well-known name, and has `body` called with the answer: nil when the name is taken, `EEXIST`
  /// when another service has it, `EACCES` when the bus's policy is against it.
  package func take(
    name: String, then body: @escaping (SystemError?) -> Void
  ) throws(SystemError) {
    let doNotQueue: UInt32 = 4
    let owners: [UInt32] = [1, 4]  // it has become ours, or it is
    try call(.ofBus("RequestName")) { message throws(SystemError) in
      try message.append(name)
      try message.append(doNotQueue)
    } then: { reply in
      let code: CInt
      if let error = reply.error {
        let isDenied = error.name == "org.freedesktop.DBus.Error.AccessDenied"
        code = isDenied ? EACCES : ECONNRESET
      } else {
        let answer = try? reply.unsigned32()
        code = answer.map(owners.contains) == true ? 0 : EEXIST
      }
      body(
        code == 0 ? nil : SystemError(operation: "taking the name \(name)", path: nil, code: code))
    }
  }

  /// Sends a signal to whoever listens.
  package func emit(
    _ member: String, of interface: String, at path: String,
    _ fill: (borrowing Message) throws(SystemError) -> Void
  ) throws(SystemError) {
    var pointer: OpaquePointer?
    try accept(
      "sd_bus_message_new_signal",
      sd_bus_message_new_signal(self.pointer, &pointer, path, interface, member))
    guard let pointer else { return }
    let message = Message(owning: pointer)
    try fill(message)
    try accept("sd_bus_send", sd_bus_send(self.pointer, message.pointer, nil))
  }

  /// Sends `PropertiesChanged` with the values that these properties have now.
  package func tellChange(
    of properties: [String], in interface: String, at path: String
  ) throws(SystemError) {
    var names = properties.map { strdup($0) } + [nil]
    defer {
      for name in names { free(name) }
    }
    try accept(
      "sd_bus_emit_properties_changed",
      sd_bus_emit_properties_changed_strv(pointer, path, interface, &names))
  }

  /// A method of another service, which is not started for it if it does not run.
  private func newCall(
    _ method: RemoteMethod, _ fill: (borrowing Message) throws(SystemError) -> Void
  ) throws(SystemError) -> Message {
    var pointer: OpaquePointer?
    try accept(
      "sd_bus_message_new_method_call",
      sd_bus_message_new_method_call(
        self.pointer, &pointer, method.destination, method.path, method.interface, method.member))
    guard let pointer else {
      throw SystemError(operation: "sd_bus_message_new_method_call", path: nil, code: ENOMEM)
    }
    let message = Message(owning: pointer)
    try accept("sd_bus_message_set_auto_start", sd_bus_message_set_auto_start(pointer, 0))
    try fill(message)
    return message
  }

  /// Calls and waits for the answer, nobody else being served meanwhile.
  package func call(
    _ method: RemoteMethod, timeout: Duration,
    _ fill: (borrowing Message) throws(SystemError) -> Void
  ) throws -> Message {
    let message = try newCall(method, fill)
    var raw = sd_bus_error()
    defer { sd_bus_error_free(&raw) }
    var reply: OpaquePointer?
    let result = sd_bus_call(pointer, message.pointer, timeout.microseconds, &raw, &reply)
    guard result >= 0, let reply else {
      throw raw.name == nil
        ? SystemError(operation: "sd_bus_call", path: nil, code: -result) : BusError(raw)
    }
    return Message(owning: reply)
  }

  /// Calls, and has `body` called with the answer, which may be an error.
  package func call(
    _ method: RemoteMethod, _ fill: (borrowing Message) throws(SystemError) -> Void,
    then body: @escaping (borrowing Message) -> Void
  ) throws(SystemError) {
    let message = try newCall(method, fill)
    let retained = Unmanaged.passRetained(Waiting(body))
    var slot: OpaquePointer?
    let result = sd_bus_call_async(
      pointer, &slot, message.pointer,
      { reply, userdata, _ in Waiting.tell(reply, userdata) }, retained.toOpaque(), 0)
    guard result >= 0 else {
      retained.release()
      throw SystemError(operation: "sd_bus_call_async", path: nil, code: -result)
    }
    float(slot) { userdata in userdata.map { Unmanaged<Waiting>.fromOpaque($0).release() } }
  }

  /// Leaves a slot to the connection, with what is to be done when it goes.
  private func float(
    _ slot: OpaquePointer?, _ destroy: @convention(c) (UnsafeMutableRawPointer?) -> Void
  ) {
    sd_bus_slot_set_destroy_callback(slot, destroy)
    sd_bus_slot_set_floating(slot, 1)
    sd_bus_slot_unref(slot)
  }
}

/// What is done with a message that is waited for.
private final class Waiting {
  let body: (borrowing Message) -> Void
  init(_ body: @escaping (borrowing Message) -> Void) { self.body = body }

  static func tell(_ message: OpaquePointer?, _ userdata: UnsafeMutableRawPointer?) -> CInt {
    guard let message, let userdata else { return -EINVAL }
    let waiting = Unmanaged<Waiting>.fromOpaque(userdata).takeUnretainedValue()
    withExtendedLifetime(waiting) { waiting.body(Message(sharing: message)) }
    return 0
  }
}

/// A method of another service.
package struct RemoteMethod: Sendable {
  let destination: String
  let path: String
  let interface: String
  let member: String

  package init(_ destination: String, _ path: String, _ interface: String, _ member: String) {
    self.destination = destination
    self.path = path
    self.interface = interface
    self.member = member
  }

  /// A method of the bus itself.
  package static func ofBus(_ member: String) -> Self {
    RemoteMethod("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", member)
  }
}
