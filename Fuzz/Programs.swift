import Seccomp

/// A raw program: what is accepted can be printed, and runs to an end.
func fuzzProgram(_ bytes: [UInt8]) {
  guard let program = try? FilterProgram(bytes: bytes) else { return }
  precondition(program.bytes == bytes, "a program is written as it was read")
  precondition(!program.assembly(for: .x86_64).isEmpty)
  _ = program.cHeader(name: "x")
  for number in [0, 1, 59, UInt32.max] {
    let result = program.run(
      CallData(
        number: number, architecture: Architecture.x86_64.auditNumber,
        arguments: [0, .max, 1 << 32, 5, 6, 7]))
    precondition(result.steps <= FilterProgram.lengthLimit)
  }
}

/// A trace of strace or an audit log: the policy that is made of it is one, for each machine.
func fuzzTrace(_ bytes: [UInt8]) {
  for architecture in [Architecture.x86_64, .i386] {
    var generator = PolicyGenerator(architecture: architecture)
    generator.add(trace: bytes, command: "cat")
    let text = Array(generator.text().utf8)
    let parser = PolicyParser(architecture: architecture, dialect: .minijail) {
      (_) throws(ReadFailure) in
      throw ReadFailure(isMissing: true, reason: "no file")
    }
    do { _ = try parser.parse(text, name: "made") } catch {
      fatalError("the policy that was made is refused: \(error)\n\(generator.text())")
    }
    _ = generator.frequencyText()
  }
}
