import DaemonStoreKernel

/// What an inspecting process sends to the one that has started it.
protocol Transferable {
  func write(to answer: inout Answer)
  init(from answer: inout Answer) throws(SystemError)
}

/// The bytes of an answer: written at the end, read from the beginning.
struct Answer {
  private(set) var bytes: [UInt8]
  private var next = 0

  init(_ bytes: [UInt8] = []) { self.bytes = bytes }

  /// An answer that ends too early, or means nothing.
  static var malformed: SystemError {
    SystemError(operation: "read the answer of an inspection", path: nil, code: 71)  // EPROTO
  }

  mutating func write(_ part: some Sequence<UInt8>) { bytes += part }

  mutating func read(_ count: Int) throws(SystemError) -> ArraySlice<UInt8> {
    guard count >= 0, bytes.count - next >= count else { throw Self.malformed }
    next += count
    return bytes[(next - count)..<next]
  }
}

extension UInt64: Transferable {
  func write(to answer: inout Answer) {
    answer.write((0..<8).map { UInt8(truncatingIfNeeded: self >> (8 * UInt64($0))) })
  }

  init(from answer: inout Answer) throws(SystemError) {
    self = try answer.read(8).reversed().reduce(0) { $0 << 8 | UInt64($1) }
  }
}

extension Answer {
  mutating func write(number: some BinaryInteger) {
    UInt64(truncatingIfNeeded: number).write(to: &self)
  }

  mutating func number<Number: FixedWidthInteger>(
    _: Number.Type = Number.self
  ) throws(SystemError) -> Number {
    Number(truncatingIfNeeded: try UInt64(from: &self))
  }
}

extension Bool: Transferable {
  func write(to answer: inout Answer) { answer.write([self ? 1 : 0]) }
  init(from answer: inout Answer) throws(SystemError) { self = try answer.read(1).first == 1 }
}

extension FilePath: Transferable {
  func write(to answer: inout Answer) {
    answer.write(number: bytes.count)
    answer.write(bytes)
  }

  init(from answer: inout Answer) throws(SystemError) {
    let count: Int = try answer.number()
    self.init(truncating: try answer.read(count))
  }
}

extension String: Transferable {
  func write(to answer: inout Answer) {
    answer.write(number: utf8.count)
    answer.write(utf8)
  }

  init(from answer: inout Answer) throws(SystemError) {
    let count: Int = try answer.number()
    self = String(decoding: try answer.read(count), as: UTF8.self)
  }
}

extension Array: Transferable where Element: Transferable {
  func write(to answer: inout Answer) {
    answer.write(number: count)
    for element in self { element.write(to: &answer) }
  }

  init(from answer: inout Answer) throws(SystemError) {
    let count: Int = try answer.number()
    self = []
    for _ in 0..<Swift.max(0, count) { append(try Element(from: &answer)) }
  }
}

extension Optional: Transferable where Wrapped: Transferable {
  func write(to answer: inout Answer) {
    (self != nil).write(to: &answer)
    self?.write(to: &answer)
  }

  init(from answer: inout Answer) throws(SystemError) {
    self = try Bool(from: &answer) ? try Wrapped(from: &answer) : nil
  }
}

/// The text of a file of the kernel's: many bytes, which ``Array`` would take one by one.
struct KernelBytes: Transferable {
  let bytes: [UInt8]
  init(_ bytes: [UInt8]) { self.bytes = bytes }

  func write(to answer: inout Answer) {
    answer.write(number: bytes.count)
    answer.write(bytes)
  }

  init(from answer: inout Answer) throws(SystemError) {
    let count: Int = try answer.number()
    bytes = Array(try answer.read(count))
  }
}
