/// What is wrong at one place of a policy.
package struct Diagnostic: Hashable, Sendable, CustomStringConvertible {
  /// The step that the reference names in front of its messages, such as `compile_atom`.
  package let step: String
  /// Nil when the file as a whole is meant.
  package let place: Place?
  package let file: String
  /// Counted from 1, in bytes.
  package let column: Int
  /// The line, or what is around the column of a long one; nothing that a terminal would obey.
  package let excerpt: String
  /// Where the column is in the excerpt, counted from 0, in characters.
  package let excerptColumn: Int
  package let message: String
  /// A line of its own before it, as the reference has for a constant.
  package let detail: String?

  package var line: Int? { place?.line }

  /// `compile_atom: FILE(LINE): invalid constant 'X'`.
  package var description: String {
    "\(step): \(place.map(\.description) ?? file): \(message)"
  }

  /// The detail, the message, the line and a mark under the column.
  package var lines: [String] {
    var lines = [detail, description].compactMap { $0 }
    if !excerpt.isEmpty {
      lines += [excerpt, String(repeating: " ", count: excerptColumn) + "^"]
    }
    return lines
  }
}

/// Everything that is wrong with a policy.
public struct PolicyError: Error, Sendable, CustomStringConvertible {
  /// What was asked for.
  package let file: String
  /// In the order in which they were found, at most ``limit``.
  package let diagnostics: [Diagnostic]
  package let warnings: [Diagnostic]

  /// A file that is wrong in more places is no policy.
  package static let limit = 1000

  /// As the reference reports them, from the places to the file.
  package var lines: [String] {
    var lines: [String] = []
    for diagnostic in diagnostics {
      lines += diagnostic.lines
      if diagnostic.step == Step.atom { lines.append("could not allocate filter block") }
    }
    return lines + [
      "compile_filter: compile_file() failed",
      "failed to compile seccomp filter BPF program in '\(file)'",
    ]
  }

  /// One line for each mistake, with file and line, the text of the policy and a mark below it.
  public var description: String { lines.joined(separator: "\n") }
}

/// The names that the reference gives its steps.
enum Step {
  static let atom = "compile_atom"
  static let errno = "compile_errno"
  static let file = "compile_file"
  static let filter = "compile_policy_line"
  static let include = "parse_include_statement"
}

/// Bytes from outside, as something to print: no control characters, no more than `limit`.
func shown(_ bytes: ArraySlice<UInt8>, limit: Int = 80) -> String {
  var result = ""
  for scalar in String(decoding: bytes.prefix(limit), as: UTF8.self).unicodeScalars {
    if scalar.properties.generalCategory == .control {
      result += scalar == "\t" ? " " : "\\x\(hexadecimal(scalar.value))"
    } else {
      result.unicodeScalars.append(scalar)
    }
  }
  return bytes.count > limit ? result + "…" : result
}

private func hexadecimal(_ value: UInt32) -> String {
  (value < 16 ? "0" : "") + String(value, radix: 16)
}
