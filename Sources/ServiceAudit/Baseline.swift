import DaemonStoreKernel

/// Which services a system is to have, and how each is to be confined: docs/sandboxed-services.md.
package struct Baseline: Equatable, Sendable {
  package struct Line: Equatable, Sendable, CustomStringConvertible {
    package let program: FilePath
    package let user: FilePath
    package let group: FilePath
    package let features: Set<Feature>

    package init(program: FilePath, user: FilePath, group: FilePath, features: Set<Feature>) {
      self.program = program
      self.user = user
      self.group = group
      self.features = features
    }

    package var description: String {
      ([program, user, group].map { Baseline.escaped(Array($0.bytes)) }
        + features.sorted().map(\.description)).joined(separator: " ")
    }
  }

  package let lines: [Line]
  /// Programs that are not looked at.
  package let ignored: Set<FilePath>

  package init(lines: [Line], ignored: Set<FilePath> = []) {
    self.lines = lines
    self.ignored = ignored
  }

  /// A line that is no line of a baseline: `FILE:12: …`.
  package struct Mistake: Error, Equatable, CustomStringConvertible {
    package let description: String
  }

  /// - Parameter name: of the file, for errors.
  package init(parsing text: [UInt8], named name: FilePath) throws(Mistake) {
    var lines: [Line] = []
    var ignored: Set<FilePath> = []
    let rows = text.split(
      separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
    for (number, row) in zip(1..., rows) {
      let line = row.last == UInt8(ascii: "\r") ? row.dropLast() : row
      func mistake(_ reason: String) -> Mistake {
        Mistake(description: "\(name):\(number): \(reason)")
      }
      let fields = line.prefix { $0 != UInt8(ascii: "#") }.words
      guard let first = fields.first else { continue }
      if first.equals("ignore"), fields.count == 2, let name = Self.name(fields[1]) {
        ignored.insert(name)
        continue
      }
      guard !first.equals("ignore") || fields.count > 1 else {
        throw mistake("ignore is followed by the program that is not looked at")
      }
      guard fields.count >= 3, let program = Self.name(fields[0]),
        let user = Self.name(fields[1]), let group = Self.name(fields[2])
      else {
        throw mistake("a service has a program, a user and a group, then features")
      }
      var features: Set<Feature> = []
      for text in fields[3...] {
        guard let feature = Feature(text) else {
          throw mistake(
            "\(shownBytes(text)) is no feature; there are caps=…, no-new-privs, root, seccomp and "
              + Feature.namespaces.joined(separator: ", "))
        }
        features.insert(feature)
      }
      let new = Line(program: program, user: user, group: group, features: features)
      guard !lines.contains(where: { $0.isSame(as: new) }) else {
        throw mistake("\(new.program) of \(new.user):\(new.group) has a line already")
      }
      lines.append(new)
    }
    self.init(lines: lines, ignored: ignored)
  }

  /// What runs, a line for each program, user and group, with what all its processes hold.
  package init(of services: [Service]) {
    var lines: [Line] = []
    for service in services {
      guard let index = lines.firstIndex(where: { $0.isSame(as: service.line) }) else {
        lines.append(service.line)
        continue
      }
      lines[index] = lines[index].weakened(by: service)
    }
    self.init(
      lines: lines.sorted {
        $0.description.utf8.lexicographicallyPrecedes($1.description.utf8)
      })
  }

  package var text: String {
    "# program user group features: see sandboxed-services(1)\n"
      + ignored.sorted().map { "ignore \(Self.escaped(Array($0.bytes)))\n" }.joined()
      + lines.map { "\($0)\n" }.joined()
  }

  /// What is wrong with the services that run, each in one line.
  package func problems(with services: [Service]) -> [String] {
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
  static func escaped(_ text: [UInt8]) -> String {
    var bytes: [UInt8] = []
    let isText = String(validating: text, as: UTF8.self) != nil
    for byte in text {
      let isSpecial = byte <= 0x20 || byte == 0x7f || "#\\".utf8.contains(byte)
      guard isSpecial || byte >= 0x80 && !isText else {
        bytes.append(byte)
        continue
      }
      let digits = String(byte, radix: 8)
      bytes += Array(("\\" + String(repeating: "0", count: 3 - digits.count) + digits).utf8)
    }
    return String(decoding: bytes, as: UTF8.self)
  }

  /// nil for a NUL.
  private static func name(_ text: ArraySlice<UInt8>) -> FilePath? {
    var bytes: [UInt8] = []
    var rest = text
    while let byte = rest.popFirst() {
      if byte == UInt8(ascii: "\\"), rest.count >= 3,
        let code: UInt8 = rest.prefix(3).number(radix: 8)
      {
        bytes.append(code)
        rest = rest.dropFirst(3)
      } else {
        bytes.append(byte)
      }
    }
    return FilePath(bytes)
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
  package var line: Baseline.Line {
    Baseline.Line(program: program, user: userName, group: groupName, features: features)
  }
}
