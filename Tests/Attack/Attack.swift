import Testing

// Each file here attacks the programs as somebody who wants what is not theirs would: another user,
// a hostile program in a jail, a flood on the bus. An attack has a control, the same attack on a
// naive program, which succeeds: so the attack itself is known to work.

extension Tag {
  /// An attack that was shown to succeed on an earlier version, or on a comparable program.
  @Tag static var attack: Self
}
