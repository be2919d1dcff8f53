import FoundationEssentials
import TestSupport
import Testing

/// A schema of docs/schemas, read before a machine of a test's own hides it.
struct Schema: Sendable {
  private let text: String

  init(_ name: String) throws {
    text = try readFile(projectFile("docs/schemas/\(name).json"))
  }

  /// What is wrong with a document; empty when nothing is. An independent reader says so.
  func violations(in document: String) throws -> String {
    let script = """
      import json, sys, jsonschema
      schema = json.loads(sys.argv[1])
      jsonschema.Draft202012Validator.check_schema(schema)
      jsonschema.Draft202012Validator(schema).validate(json.load(sys.stdin))
      """
    let outcome = try run("python3", ["-c", script, text], stdin: document)
    return outcome.status == 0 ? "" : outcome.errors
  }

  /// Decodes what a program printed, after it was compared with the schema.
  func decode<Value: Decodable>(
    _ type: Value.Type, _ output: String, sourceLocation: SourceLocation = #_sourceLocation
  ) throws -> Value {
    let problems = try violations(in: output)
    #expect(problems.isEmpty, "\(output)\n\(problems)", sourceLocation: sourceLocation)
    return try JSONDecoder().decode(type, from: Data(output.utf8))
  }
}
