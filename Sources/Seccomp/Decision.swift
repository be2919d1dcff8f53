/// What a policy says to a call, and the line that says so.
package struct Decision: Hashable, Sendable {
  /// Nil for the default action.
  package let action: Action?
  /// Nil when no rule names the call.
  package let place: Place?
}

extension Comparison {
  func holds(_ arguments: [UInt64], is64Bit: Bool) -> Bool {
    let left = arguments[argument]
    guard is64Bit, !value.isInt else {
      return operation.holds(
        UInt32(truncatingIfNeeded: left), UInt32(truncatingIfNeeded: value.bits))
    }
    return operation.holds(left, value.bits)
  }
}

extension Policy {
  package func rule(for number: UInt32) -> Rule? { rules.first { $0.call.number == number } }

  /// Reads the policy as a person would: the first clause that holds. The call is taken to come
  /// from the policy's architecture.
  package func decision(_ call: CallData) -> Decision {
    guard let rule = rule(for: call.number) else { return Decision(action: nil, place: nil) }
    for clause in rule.clauses {
      let holds = clause.condition.contains { group in
        group.allSatisfy { $0.holds(call.arguments, is64Bit: architecture.is64Bit) }
      }
      if holds { return Decision(action: clause.action, place: clause.place) }
    }
    return Decision(action: rule.otherwise, place: rule.otherwisePlace)
  }
}
