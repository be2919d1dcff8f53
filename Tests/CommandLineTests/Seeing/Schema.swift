import FoundationEssentials
import TestSupport
import Testing

/// A schema of docs/schemas, read before a machine of a test's own hides it.
struct Schema {
  private let text: String

  init(_ name: String) throws {
    let package = #filePath.split(separator: "/").dropLast(4).joined(separator: "/")
    text = try readFile("/\(package)/docs/schemas/\(name).json")
  }

  /// Decodes what a program printed, after somebody else has compared it with the schema.
  func decode<Value: Decodable>(
    _ type: Value.Type, _ output: String, sourceLocation: SourceLocation = #_sourceLocation
  ) throws -> Value {
    let script =
      "import json, sys, jsonschema\n"
      + "jsonschema.Draft202012Validator(json.loads(sys.argv[1])).validate(json.load(sys.stdin))"
    let outcome = try run("python3", ["-c", script, text], stdin: output)
    #expect(outcome.status == 0, "\(output)\n\(outcome.errors)", sourceLocation: sourceLocation)
    return try JSONDecoder().decode(type, from: Data(output.utf8))
  }
}
