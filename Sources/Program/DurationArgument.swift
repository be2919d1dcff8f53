import ArgumentParser

/// A time on the command line: `5`, `5s`, `500ms`, `2m`.
public struct DurationArgument: ExpressibleByArgument {
  public let duration: Duration

  public init?(argument: String) {
    let units: [(String, Int64)] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("", 1_000)]
    guard let (suffix, factor) = units.first(where: { argument.hasSuffix($0.0) }),
      argument.utf8.first.map({ (48...57).contains($0) }) == true,
      let count = Int64(argument.dropLast(suffix.count))
    else { return nil }
    let (milliseconds, overflow) = count.multipliedReportingOverflow(by: factor)
    guard !overflow, milliseconds <= 1_000 * 86_400 * 365 else { return nil }
    duration = .milliseconds(milliseconds)
  }
}
