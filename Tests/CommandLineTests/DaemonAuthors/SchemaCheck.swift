import TestSupport

/// A schema of docs/schemas. Read it outside of `inHost`, which may hide the place.
struct JSONSchema: Sendable {
  private let text: String

  init(_ name: String) throws {
    text = try readFile("\(AuthorsPage.package)/docs/schemas/\(name).json")
  }

  /// What is wrong with a document; empty when nothing is. An independent reader says so.
  func violations(in document: String) throws -> String {
    let script = """
      import json, sys, jsonschema
      task = json.load(sys.stdin)
      jsonschema.Draft202012Validator.check_schema(task["schema"])
      jsonschema.Draft202012Validator(task["schema"]).validate(task["document"])
      """
    let outcome = try run(
      "python3", ["-c", script], stdin: "{\"schema\": \(text), \"document\": \(document)}")
    return outcome.status == 0 ? "" : outcome.errors
  }
}
