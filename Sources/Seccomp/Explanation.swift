/// Why a call gets what it gets.
package struct Explanation: Hashable, Sendable, CustomStringConvertible {
  package let call: SystemCall
  package let arguments: [UInt64]
  /// What the kernel is told.
  package let action: Action
  /// No rule decides: the call is not named, or its rule leaves it to the default action.
  package let isDefault: Bool
  /// The line that decides; nil when no rule names the call.
  package let place: Place?
  /// How many instructions that takes.
  package let steps: Int

  /// `ioctl(0, 0x5401): allow, by test.policy(3), in 11 instructions`.
  package var description: String {
    let words = arguments.map { $0 < 10 ? "\($0)" : "0x\(String($0, radix: 16))" }
    let verdict =
      switch action {
      case .errno(let number): "errno \(number)"
      default: action.word
      }
    let reason = place.map { "by \($0)" } ?? "no rule names it"
    return "\(call.name)(\(words.joined(separator: ", "))): \(verdict)"
      + "\(isDefault ? " (default)" : ""), \(reason), in \(steps) instructions"
  }
}

extension Compiler {
  /// What a call with these arguments comes to; those left out are 0.
  package func explain(
    _ policy: Policy, call: SystemCall, arguments: [UInt64]
  ) throws(CompileError) -> Explanation {
    let data = CallData(
      number: call.number, architecture: policy.architecture.auditNumber, arguments: arguments)
    let result = try compile(policy).run(data)
    let decision = policy.decision(data)
    return Explanation(
      call: call, arguments: arguments, action: result.action ?? .killProcess,
      isDefault: decision.action == nil, place: decision.place, steps: result.steps)
  }
}
