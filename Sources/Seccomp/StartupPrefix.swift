extension FilterProgram {
  /// What a dynamic loader needs (``StartupFilter/loaderPolicy``), and for everything else what this
  /// program says: the start-up filter of a program that no policy is known of.
  package func allowingLoader(on architecture: Architecture) throws(CompileError) -> FilterProgram {
    let parser = PolicyParser(architecture: architecture, toleratesUnknownCalls: true) {
      _ throws(ReadFailure) in throw ReadFailure(isMissing: true, reason: "no file")
    }
    guard let loader = try? parser.parse(Array(StartupFilter.loaderPolicy.utf8), name: "loader")
    else { throw CompileError(instructionCount: nil) }
    var compiler = Compiler()
    // Nothing else returns it.
    compiler.defaultAction = .errno(4095)
    let undecided = [compiler.code(nil, loader), Action.kill.code(killsProcess: false)]
    let prefix = try compiler.compile(loader).instructions
    let rest = prefix.enumerated().map { index, instruction in
      guard instruction.code == OperationCode.returnOperand,
        undecided.contains(instruction.operand)
      else { return instruction }
      let distance = UInt32(truncatingIfNeeded: prefix.count - index - 1)
      return Instruction(code: OperationCode.jump, operand: distance)
    }
    do throws(ProgramError) {
      return try FilterProgram(rest + instructions)
    } catch {
      throw CompileError(instructionCount: rest.count + instructions.count)
    }
  }
}
