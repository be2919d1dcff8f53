/// One line of a policy after joining: a line that ends in `\` is joined with the next one, with a
/// blank between.
struct SourceLine {
  /// All of it, as it stands in the file.
  let bytes: ArraySlice<UInt8>
  /// What is left to be read: at first without blanks and tabs at either end.
  var text: ArraySlice<UInt8>
  /// Where each physical line begins in the joined bytes.
  let parts: [Part]
  /// The file ended in `\`, so that something may be missing.
  let isUnfinished: Bool

  init(bytes: ArraySlice<UInt8>, parts: [Part], isUnfinished: Bool) {
    self.bytes = bytes
    self.parts = parts
    self.isUnfinished = isUnfinished
    text = bytes.trimmed
  }

  struct Part {
    let number: Int
    let start: Int
    let end: Int
  }

  var number: Int { parts.first?.number ?? 1 }
  var isComment: Bool { text.first == UInt8(ascii: "#") }

  func bytes(of part: Part) -> ArraySlice<UInt8> { bytes[part.start..<part.end] }

  /// The physical line of a position, and the column there.
  func position(of index: Int) -> (part: Part, column: Int) {
    var part = parts.first ?? Part(number: 1, start: 0, end: 0)
    for candidate in parts where candidate.start <= index { part = candidate }
    return (part, max(0, index - part.start))
  }
}

/// Takes a file apart, line by line.
struct SourceLines: Sequence, IteratorProtocol {
  private let bytes: [UInt8]
  private var position = 0
  private var number = 0

  init(_ bytes: [UInt8]) { self.bytes = bytes }

  mutating func next() -> SourceLine? {
    guard position < bytes.count else { return nil }
    var first = nextPhysical()
    guard bytes[first].last == UInt8(ascii: "\\") else {
      let line = bytes[first]
      let part = SourceLine.Part(number: number, start: line.startIndex, end: line.endIndex)
      return SourceLine(bytes: line, parts: [part], isUnfinished: false)
    }
    var joined: [UInt8] = []
    var parts: [SourceLine.Part] = []
    while true {
      let isJoined = bytes[first].last == UInt8(ascii: "\\")
      let line = isJoined ? bytes[first].dropLast() : bytes[first]
      let start = joined.count
      joined += line
      parts.append(SourceLine.Part(number: number, start: start, end: joined.count))
      guard isJoined else { break }
      joined.append(UInt8(ascii: " "))
      guard position < bytes.count else {
        return SourceLine(bytes: joined[...], parts: parts, isUnfinished: true)
      }
      first = nextPhysical()
    }
    return SourceLine(bytes: joined[...], parts: parts, isUnfinished: false)
  }

  private mutating func nextPhysical() -> Range<Int> {
    number += 1
    let start = position
    let end = bytes.withUnsafeBufferPointer { bytes in
      var end = start
      while end < bytes.count && bytes[end] != UInt8(ascii: "\n") { end += 1 }
      return end
    }
    position = end + 1
    return start..<end
  }
}

extension ArraySlice<UInt8> {
  /// Without blanks and tabs at either end.
  var trimmed: Self {
    let (first, last) = withUnsafeBufferPointer { bytes in
      func isBlank(_ index: Int) -> Bool {
        bytes[index] == UInt8(ascii: " ") || bytes[index] == UInt8(ascii: "\t")
      }
      var first = 0
      var last = bytes.count
      while first < last && isBlank(first) { first += 1 }
      while last > first && isBlank(last - 1) { last -= 1 }
      return (first, last)
    }
    return self[(startIndex + first)..<(startIndex + last)]
  }

  func hasPrefix(_ text: StaticString) -> Bool {
    count >= text.utf8CodeUnitCount && prefix(text.utf8CodeUnitCount).equals(text)
  }

  func equals(_ text: StaticString) -> Bool {
    elementsEqual(UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
  }

  /// The parts between the occurrences of a separator of one or two bytes.
  func parts(separator: StaticString) -> [Self] {
    var parts: [Self] = []
    var start = startIndex
    var index = startIndex
    let length = separator.utf8CodeUnitCount
    while index + length <= endIndex {
      if self[index..<index + length].equals(separator) {
        parts.append(self[start..<index])
        index += length
        start = index
      } else {
        index += 1
      }
    }
    parts.append(self[start..<endIndex])
    return parts
  }

  /// The words between blanks.
  var words: [Self] { split(separator: UInt8(ascii: " ")) }

  func withBytes<Result>(_ body: (UnsafeBufferPointer<UInt8>) -> Result) -> Result {
    withUnsafeBufferPointer(body)
  }
}
