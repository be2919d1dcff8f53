struct Explanation {
  let text: String
  init(_ plan: JailPlan) throws(JailError) {
    text = plan.steps.map { "\($0)\n" }.joined()
  }
}
