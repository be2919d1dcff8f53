/// Which services a system is to have, and how each is to be confined: docs/sandboxed-services.md.
public struct Baseline: Equatable, Sendable {
  public struct Line: Equatable, Sendable, CustomStringConvertible {
    public let program: String
    public let user: String
    public let group: String
    public let features: Set<Feature>

    public init(program: String, user: String, group: String, features: Set<Feature>) {
      self.program = program
      self.user = user
      self.group = group
      self.features = features
    }

    public var description: String {
      ([program, user, group].map(Baseline.escaped) + features.sorted().map(\.description))
        .joined(separator: " ")
    }
  }

  public let lines: [Line]
  /// Programs that are not looked at.
  public let ignored: Set<String>

  public init(lines: [Line], ignored: Set<String> = []) {
    self.lines = lines
    self.ignored = ignored
  }

  /// A line that is no line of a baseline: `FILE:12: …`.
  public struct Mistake: Error, Equatable, CustomStringConvertible {
    public let description: String
  }

  /// - Parameter name: of the file, for errors.
  public init(parsing text: String, named name: String) throws(Mistake) {
    var lines: [Line] = []
    var ignored: Set<String> = []
    // CR LF is one Character.
    let rows = text.split(omittingEmptySubsequences: false) { $0 == "\n" || $0 == "\r\n" }
    for (number, line) in zip(1..., rows) {
      func mistake(_ reason: String) -> Mistake {
        Mistake(description: "\(name):\(number): \(reason)")
      }
      let fields = line.prefix { $0 != "#" }.split { $0 == " " || $0 == "\t" }
      guard let first = fields.first else { continue }
      if first == "ignore" && fields.count == 2 {
        ignored.insert(Self.unescaped(fields[1]))
        continue
      }
      guard first != "ignore" || fields.count > 1 else {
        throw mistake("ignore is followed by the program that is not looked at")
      }
      guard fields.count >= 3 else {
        throw mistake("a service has a program, a user and a group, then features")
      }
      var features: Set<Feature> = []
      for text in fields[3...] {
        guard let feature = Feature(text) else {
          throw mistake(
            "\(text) is no feature; there are caps=…, no-new-privs, root, seccomp and "
              + Feature.namespaces.joined(separator: ", "))
        }
        features.insert(feature)
      }
      let new = Line(
        program: Self.unescaped(fields[0]), user: Self.unescaped(fields[1]),
        group: Self.unescaped(fields[2]), features: features)
      guard !lines.contains(where: { $0.isSame(as: new) }) else {
        throw mistake("\(new.program) of \(new.user):\(new.group) has a line already")
      }
      lines.append(new)
    }
    self.init(lines: lines, ignored: ignored)
  }

  /// What runs, a line for each program, user and group, with what all its processes hold.
  public init(of services: [Service]) {
    var lines: [Line] = []
    for service in services {
      guard let index = lines.firstIndex(where: { $0.isSame(as: service.line) }) else {
        lines.append(service.line)
        continue
      }
      lines[index] = lines[index].weakened(by: service)
    }
    self.init(lines: lines.sorted { $0.description < $1.description })
  }

  public var text: String {
    "# program user group features: see sandboxed-services(1)\n"
      + ignored.sorted().map { "ignore \(Self.escaped($0))\n" }.joined()
      + lines.map { "\($0)\n" }.joined()
  }

  /// What is wrong with the services that run, each in one line.
  public func problems(with services: [Service]) -> [String] {
    var problems: [String] = []
    let services = services.filter { !ignored.contains($0.program) }
    for line in Baseline(of: services).lines {
      let processes = services.filter { line.isSame(as: $0.line) }
      let who = processes.map { "\($0.pid)" }.joined(separator: ", ")
      let subject = "\(line.program) (pid \(who))"
      guard let wanted = lines.first(where: { $0.isSame(as: line) }) else {
        let others = lines.filter { $0.program == line.program }
        let what =
          processes.contains { $0.status.user == 0 }
          ? "is a new service of root"
          : others.isEmpty
            ? "is an unknown service"
            : "runs as \(line.user):\(line.group), and not as "
              + others.map { "\($0.user):\($0.group)" }.joined(separator: " or ")
        problems.append("\(subject) \(what); if that is meant, add: \(line)")
        continue
      }
      let lost = wanted.features.filter { feature in !processes.allSatisfy { $0.holds(feature) } }
      if !lost.isEmpty {
        problems.append(
          "\(subject) has lost \(lost.sorted().map(\.description).joined(separator: " ")); "
            + "if that is meant, the line is: \(line)")
      }
    }
    return problems
  }

  /// A blank, a `#` or a backslash in a name, as fstab(5) writes it: `\040`.
  static func escaped(_ text: String) -> String {
    var bytes: [UInt8] = []
    for byte in text.utf8 {
      guard byte <= 0x20 || byte == 0x7f || "#\\".utf8.contains(byte) else {
        bytes.append(byte)
        continue
      }
      let digits = String(byte, radix: 8)
      bytes += Array(("\\" + String(repeating: "0", count: 3 - digits.count) + digits).utf8)
    }
    return String(decoding: bytes, as: UTF8.self)
  }

  static func unescaped(_ text: Substring) -> String {
    var bytes: [UInt8] = []
    var rest = Array(text.utf8)[...]
    while let byte = rest.popFirst() {
      if byte == UInt8(ascii: "\\"), rest.count >= 3,
        let code = UInt8(String(decoding: rest.prefix(3), as: UTF8.self), radix: 8)
      {
        bytes.append(code)
        rest = rest.dropFirst(3)
      } else {
        bytes.append(byte)
      }
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}

extension Baseline.Line {
  /// Whether both are about the same service.
  fileprivate func isSame(as other: Self) -> Bool {
    program == other.program && user == other.user && group == other.group
  }

  /// With only what this process holds too.
  fileprivate func weakened(by service: Service) -> Self {
    var features = features.intersection(service.features)
    // Of two sets of capabilities, what either has; none where one of them has all.
    for case .capabilities(let mine) in self.features where !service.hasAllCapabilities {
      features = features.filter { if case .capabilities = $0 { false } else { true } }
      features.insert(.capabilities(mine.union(service.status.permitted)))
    }
    return Self(program: program, user: user, group: group, features: features)
  }
}

extension Service {
  /// Its line in a baseline.
  public var line: Baseline.Line {
    Baseline.Line(program: program, user: userName, group: groupName, features: features)
  }
}
