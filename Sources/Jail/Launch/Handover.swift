/// What one step leaves for a later one. Where it is missing, the later step fails; it is not skipped.
struct Handover<Value> {
  private let name: StaticString
  /// For what has to know whether it is there, as a list of descriptors to keep.
  private(set) var current: Value?

  init(_ name: StaticString, _ value: Value? = nil) {
    self.name = name
    current = value
  }

  mutating func leave(_ value: Value) { current = value }

  func get() throws(JailError) -> Value {
    guard let current else { throw JailError("\(name): no earlier step has left it") }
    return current
  }

  mutating func take() throws(JailError) -> Value {
    let value = try get()
    current = nil
    return value
  }

  mutating func forget() { current = nil }
}
