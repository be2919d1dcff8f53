import FoundationEssentials

/// Prints `value` as JSON: sorted keys, two spaces, one value.
package func printJSON(_ value: some Encodable) throws {
  try printJSON(value, [.sortedKeys, .prettyPrinted, .withoutEscapingSlashes])
}

/// Prints `value` as JSON on one line, for who reads a stream of them.
package func printJSONLine(_ value: some Encodable) throws {
  try printJSON(value, [.sortedKeys, .withoutEscapingSlashes])
}

private func printJSON(_ value: some Encodable, _ form: JSONEncoder.OutputFormatting) throws {
  let encoder = JSONEncoder()
  encoder.outputFormatting = form
  Program.put(String(decoding: try encoder.encode(value), as: UTF8.self) + "\n")
}
