/// A time on the command line: `5`, `5s`, `500ms`, `2m`, `1.5h`.
package struct DurationArgument: Sendable {
  package let duration: Duration

  package init(_ argument: String) throws(Failure) {
    let units = [("ms", 1.0), ("s", 1e3), ("m", 60e3), ("h", 3600e3), ("", 1e3)]
    guard let (suffix, factor) = units.first(where: { argument.hasSuffix($0.0) }),
      argument.utf8.first.map({ (48...57).contains($0) }) == true,
      argument.dropLast(suffix.count).utf8.allSatisfy({ (48...57).contains($0) || $0 == 46 }),
      let count = Double(argument.dropLast(suffix.count)), count * factor <= 365 * 86_400e3
    else { throw Failure("a time is like 5s, 500ms, 2m or 1.5h, and a year at most") }
    duration = .milliseconds(count * factor)
  }
}
