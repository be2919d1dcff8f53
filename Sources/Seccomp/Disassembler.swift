extension FilterProgram {
  /// The program as text, one line for each instruction, with names where the table has them.
  package func assembly(for architecture: Architecture?) -> String {
    var names: [UInt32: String] = [:]
    for call in architecture?.systemCalls ?? [] where names[call.number] == nil {
      names[call.number] = call.name
    }
    var lines: [String] = []
    let width = "\(instructions.count)".count
    /// Which word is loaded, on the way that comes from above; nil after a jump.
    var loaded = [UInt32?](repeating: nil, count: instructions.count + 1)
    for (index, instruction) in instructions.enumerated() {
      var number = "\(index)"
      number = String(repeating: " ", count: width - number.count) + number
      var text = Self.text(of: instruction, at: index)
      if let note = note(on: instruction, loaded[index], names) { text += "  ; \(note)" }
      lines.append("\(number): \(text)")
      pass(loaded[index], instruction, from: index, to: &loaded)
    }
    return lines.map { $0 + "\n" }.joined()
  }

  private func pass(
    _ word: UInt32?, _ instruction: Instruction, from index: Int, to loaded: inout [UInt32?]
  ) {
    let code = instruction.code
    if OperationCode.conditions.contains(code & ~OperationCode.fromIndex) {
      loaded[index + 1 + Int(instruction.jumpTrue)] = word
      loaded[index + 1 + Int(instruction.jumpFalse)] = word
    } else if code == OperationCode.jump {
      loaded[index + 1 + Int(instruction.operand)] = word
    } else if code == OperationCode.loadAbsolute {
      loaded[index + 1] = instruction.operand
    }
  }

  private func note(
    on instruction: Instruction, _ loaded: UInt32?, _ names: [UInt32: String]
  ) -> String? {
    let operand = instruction.operand
    switch instruction.code {
    case OperationCode.returnOperand: return Action(code: operand).map(Self.name)
    case OperationCode.loadAbsolute: return Self.name(ofWord: operand)
    case OperationCode.jumpEqual, OperationCode.jumpGreaterOrEqual, OperationCode.jumpGreater:
      if loaded == CallData.numberOffset { return names[operand] }
      guard loaded == CallData.architectureOffset else { return nil }
      return Architecture(auditNumber: operand)?.name
    default: return nil
    }
  }

  private static func name(_ action: Action) -> String {
    switch action {
    case .errno(let number): "errno \(number)"
    default: action.word
    }
  }

  private static func name(ofWord offset: UInt32) -> String {
    switch offset {
    case 0: "number"
    case 4: "architecture"
    case 8, 12: "instruction pointer"
    default: "arg\((offset - 16) / 8)\(offset % 8 == 0 ? "" : ", upper half")"
    }
  }

  private static func text(of instruction: Instruction, at index: Int) -> String {
    let isFromIndex = instruction.code & OperationCode.fromIndex != 0
    let right = isFromIndex ? "x" : "#0x\(String(instruction.operand, radix: 16))"
    let yes = index + 1 + Int(instruction.jumpTrue)
    let no = index + 1 + Int(instruction.jumpFalse)
    switch instruction.code {
    case OperationCode.loadAbsolute: return "ld [\(instruction.operand)]"
    case OperationCode.loadImmediate: return "ld \(right)"
    case OperationCode.loadIndexImmediate: return "ldx \(right)"
    case OperationCode.loadLength: return "ld len"
    case OperationCode.loadIndexLength: return "ldx len"
    case OperationCode.loadMemory: return "ld M[\(instruction.operand)]"
    case OperationCode.loadIndexMemory: return "ldx M[\(instruction.operand)]"
    case OperationCode.store: return "st M[\(instruction.operand)]"
    case OperationCode.storeIndex: return "stx M[\(instruction.operand)]"
    case OperationCode.jump: return "ja \(index + 1 + Int(instruction.operand))"
    case OperationCode.returnOperand: return "ret \(right)"
    case OperationCode.returnAccumulator: return "ret a"
    case OperationCode.negate: return "neg"
    case OperationCode.accumulatorToIndex: return "tax"
    case OperationCode.indexToAccumulator: return "txa"
    default: break
    }
    let names: [UInt16: String] = [
      OperationCode.jumpEqual: "jeq", OperationCode.jumpGreater: "jgt",
      OperationCode.jumpGreaterOrEqual: "jge", OperationCode.jumpSet: "jset", 0x04: "add",
      0x14: "sub", 0x24: "mul", 0x34: "div", 0x44: "or", 0x54: "and", 0x64: "lsh", 0x74: "rsh",
      0xa4: "xor",
    ]
    let code = instruction.code & ~OperationCode.fromIndex
    let name = names[code] ?? "code 0x\(String(instruction.code, radix: 16))"
    return OperationCode.conditions.contains(code)
      ? "\(name) \(right), \(yes), \(no)" : "\(name) \(right)"
  }
}
