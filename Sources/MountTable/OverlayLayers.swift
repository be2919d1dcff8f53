/// The directories that an overlay is made of, from its options: `lowerdir` (several, with a colon
/// between them), `upperdir` and `workdir`, and the form of the newer mount calls, `lowerdir+` and
/// `datadir+`. A backslash quotes a comma, a colon or another backslash.
func overlayLayers(_ options: String) -> [String] {
  split(options, at: UInt8(ascii: ",")).flatMap { option -> [String] in
    guard let equals = option.firstIndex(of: UInt8(ascii: "=")) else { return [] }
    let value = option[(equals + 1)...]
    switch String(decoding: option[..<equals], as: UTF8.self) {
    case "lowerdir":
      return split(String(decoding: value, as: UTF8.self), at: UInt8(ascii: ":"))
        .filter { !$0.isEmpty }.map(unquoted)
    case "lowerdir+", "datadir+", "upperdir", "workdir": return [unquoted(value)]
    default: return []
    }
  }
}

private func split(_ text: String, at separator: UInt8) -> [ArraySlice<UInt8>] {
  let bytes = Array(text.utf8)
  var parts: [ArraySlice<UInt8>] = []
  var start = 0
  var index = 0
  while index < bytes.count {
    if bytes[index] == UInt8(ascii: "\\") {
      index += 1
    } else if bytes[index] == separator {
      parts.append(bytes[start..<index])
      start = index + 1
    }
    index += 1
  }
  parts.append(bytes[min(start, bytes.count)...])
  return parts
}

private func unquoted(_ bytes: ArraySlice<UInt8>) -> String {
  var result: [UInt8] = []
  var isQuoted = false
  for byte in bytes {
    if byte == UInt8(ascii: "\\"), !isQuoted {
      isQuoted = true
    } else {
      result.append(byte)
      isQuoted = false
    }
  }
  return String(decoding: result, as: UTF8.self)
}
