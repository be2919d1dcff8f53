/// The directories that an overlay is made of, from its options: `lowerdir` (several, with a colon
/// between them), `upperdir` and `workdir`, and the form of the newer mount calls, `lowerdir+` and
/// `datadir+`. A backslash quotes a comma, a colon or another backslash.
func overlayLayers(_ options: [UInt8]) -> [FilePath] {
  split(options[...], at: UInt8(ascii: ",")).flatMap { option -> [FilePath] in
    guard let equals = option.firstIndex(of: UInt8(ascii: "=")) else { return [] }
    let name = option[..<equals]
    let value = option[(equals + 1)...]
    if name.equals("lowerdir") {
      return split(value, at: UInt8(ascii: ":")).filter { !$0.isEmpty }.compactMap(unquoted)
    }
    let names: [StaticString] = ["lowerdir+", "datadir+", "upperdir", "workdir"]
    return names.contains { name.equals($0) } ? [value].compactMap(unquoted) : []
  }
}

private func split(_ bytes: ArraySlice<UInt8>, at separator: UInt8) -> [ArraySlice<UInt8>] {
  var parts: [ArraySlice<UInt8>] = []
  var start = bytes.startIndex
  var index = bytes.startIndex
  while index < bytes.endIndex {
    if bytes[index] == UInt8(ascii: "\\") {
      index += 1
    } else if bytes[index] == separator {
      parts.append(bytes[start..<index])
      start = index + 1
    }
    index += 1
  }
  parts.append(bytes[min(start, bytes.endIndex)...])
  return parts
}

/// nil for a NUL, which no option of a mount has.
private func unquoted(_ bytes: ArraySlice<UInt8>) -> FilePath? {
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
  return FilePath(result)
}
