/// What an ELF file says of how it is started: elf(5). Pure: it is read through a function.
struct ElfFile: Equatable {
  static let magic: [UInt8] = [0x7f, 0x45, 0x4c, 0x46]

  /// 1 for 32 bits, 2 for 64; and `EM_…`.
  let wordSize: UInt8
  let machine: UInt16
  /// The path of the dynamic loader (PT_INTERP); nil for a static program or a library.
  let loader: [UInt8]?

  /// nil when it is none, or its header makes no sense.
  init?(_ read: (_ offset: UInt64, _ count: Int) -> [UInt8]) {
    let header = read(0, 64)
    guard header.count >= 52, header.starts(with: Self.magic) else { return nil }
    guard header[4] == 1 || header[4] == 2, header[5] == 1 || header[5] == 2 else { return nil }
    wordSize = header[4]
    let is64 = header[4] == 2
    guard header.count >= (is64 ? 64 : 52) else { return nil }
    let isBigEndian = header[5] == 2
    func number(_ bytes: ArraySlice<UInt8>) -> UInt64 {
      let ordered = isBigEndian ? Array(bytes) : bytes.reversed()
      return ordered.reduce(0) { $0 << 8 | UInt64($1) }
    }
    machine = UInt16(truncatingIfNeeded: number(header[18..<20]))
    let table = is64 ? number(header[32..<40]) : number(header[28..<32])
    let size = is64 ? number(header[54..<56]) : number(header[42..<44])
    let count = is64 ? number(header[56..<58]) : number(header[44..<46])
    guard size == (is64 ? 56 : 32) else { return nil }
    for index in 0..<count {
      let (offset, overflows) = table.addingReportingOverflow(index * size)
      guard !overflows, offset <= UInt64(Int64.max) else { return nil }
      let entry = read(offset, Int(size))
      guard entry.count == Int(size) else { return nil }
      guard number(entry[0..<4]) == 3 else { continue }
      let place = is64 ? number(entry[8..<16]) : number(entry[4..<8])
      let length = is64 ? number(entry[32..<40]) : number(entry[16..<20])
      guard length <= 4096, place <= UInt64(Int64.max) else { return nil }
      loader = Array(read(place, Int(length)).prefix { $0 != 0 })
      return
    }
    loader = nil
  }
}
