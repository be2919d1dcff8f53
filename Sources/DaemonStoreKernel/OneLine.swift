/// The text with control and format characters shown as `\u{0a}`: a name on the command line cannot
/// forge a second line, show in another order than it is, or talk to the terminal. For every text that goes to a person.
package func oneLine(_ text: String) -> String {
  guard text.unicodeScalars.contains(where: isControl) else { return text }
  var result = ""
  for scalar in text.unicodeScalars {
    if isControl(scalar) {
      let digits = String(scalar.value, radix: 16)
      result += "\\u{" + (digits.count == 1 ? "0" : "") + digits + "}"
    } else {
      result.unicodeScalars.append(scalar)
    }
  }
  return result
}

/// Whether it moves, hides or reorders other text: control and format characters, among them those of
/// the bidirectional algorithm, and the separators of lines and paragraphs.
private func isControl(_ scalar: Unicode.Scalar) -> Bool {
  switch scalar.value {
  case 0..<0x20, 0x7f...0x9f, 0xad, 0x61c, 0x180e, 0x200b...0x200f, 0x2028...0x202e,
    0x2060...0x206f, 0xfeff, 0xfff9...0xfffb, 0xe0000...0xe007f:
    true
  default: false
  }
}
